package ledgermq.interop;

import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** {@code producer.*}: DefaultMQProducer in every way of sending. */
final class Producers {
    private static final long ASYNC_WAIT_S = 30;

    private final Map<String, DefaultMQProducer> producers = new HashMap<>();
    private int started;

    void register(Map<String, Driver.Operation> operations) {
        operations.put("producer.start", this::start);
        operations.put("producer.send", this::send);
        operations.put("producer.stop", this::stop);
    }

    /**
     * namesrv, group; optional compressType (ZLIB, LZ4, ZSTD), compressOverBytes, maxMessageBytes, vipChannel,
     * heartbeatV2, topicQueueCount, timeoutMs.
     */
    private Object start(JSONObject args) throws MQClientException {
        DefaultMQProducer producer = new DefaultMQProducer(args.getString("group"));
        producer.setNamesrvAddr(args.getString("namesrv"));
        producer.setInstanceName("producer-" + ++started);
        producer.setSendMsgTimeout(args.getIntValue("timeoutMs", 10_000));
        producer.setCompressMsgBodyOverHowmuch(args.getIntValue("compressOverBytes", 4096));
        producer.setMaxMessageSize(args.getIntValue("maxMessageBytes", 4 * 1024 * 1024));
        producer.setDefaultTopicQueueNums(args.getIntValue("topicQueueCount", 4));
        producer.setVipChannelEnabled(args.getBooleanValue("vipChannel", false));
        producer.setUseHeartbeatV2(args.getBooleanValue("heartbeatV2", false));
        if (args.containsKey("compressType")) {
            producer.setCompressType(CompressionType.of(args.getString("compressType")));
        }
        producer.start();
        String handle = "producer-" + started;
        producers.put(handle, producer);
        Map<String, Object> answer = new HashMap<>();
        answer.put("handle", handle);
        answer.put("clientId", producer.getDefaultMQProducerImpl().getMqClientFactory().getClientId());
        return answer;
    }

    /** handle. Does not wait: a client that has lost a connection may spend three seconds to shut down. */
    private Object stop(JSONObject args) {
        DefaultMQProducer producer = producers.remove(args.getString("handle"));
        Thread stopping = new Thread(producer::shutdown, "stop " + args.getString("handle"));
        stopping.setDaemon(true);
        stopping.start();
        return null;
    }

    /**
     * handle, topic, messages, mode: sync, async, oneway, batch, queue (to queue "broker", "queueId"), or select
     * (by each message's "shardingKey"). One send result per message, in their order; one for a whole batch.
     */
    private Object send(JSONObject args) throws Exception {
        DefaultMQProducer producer = producers.get(args.getString("handle"));
        List<Message> messages = new ArrayList<>();
        JSONArray described = args.getJSONArray("messages");
        for (int i = 0; i < described.size(); i++) {
            messages.add(Json.message(args.getString("topic"), described.getJSONObject(i)));
        }
        List<Object> results = new ArrayList<>();
        switch (args.getString("mode")) {
            case "sync":
                for (Message message : messages) {
                    results.add(Json.of(producer.send(message)));
                }
                return results;
            case "async":
                return sendAsync(producer, messages);
            case "oneway":
                for (Message message : messages) {
                    producer.sendOneway(message);
                }
                return results;
            case "batch":
                results.add(Json.of(producer.send(messages)));
                return results;
            case "queue":
                for (Message message : messages) {
                    results.add(Json.of(producer.send(message, Json.queue(args))));
                }
                return results;
            case "select":
                for (int i = 0; i < messages.size(); i++) {
                    results.add(Json.of(producer.send(messages.get(i), Producers::queueOfKey,
                        described.getJSONObject(i).getString("shardingKey"))));
                }
                return results;
            default:
                throw new IllegalArgumentException("no mode " + args.getString("mode"));
        }
    }

    private static MessageQueue queueOfKey(List<MessageQueue> queues, Message message, Object shardingKey) {
        return queues.get(Math.floorMod(shardingKey.hashCode(), queues.size()));
    }

    private static Object sendAsync(DefaultMQProducer producer, List<Message> messages) throws Exception {
        Object[] results = new Object[messages.size()];
        CountDownLatch left = new CountDownLatch(messages.size());
        for (int i = 0; i < results.length; i++) {
            final int at = i;
            producer.send(messages.get(i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    results[at] = Json.of(result);
                    left.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    results[at] = Driver.describe(error);
                    left.countDown();
                }
            });
        }
        if (!left.await(ASYNC_WAIT_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException(left.getCount() + " of " + results.length + " callbacks never came");
        }
        return results;
    }
}
