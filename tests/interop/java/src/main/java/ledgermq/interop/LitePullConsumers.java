package ledgermq.interop;

import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** {@code pull.*}: DefaultLitePullConsumer, by assignment or by subscription. */
final class LitePullConsumers {
    private final Map<String, DefaultLitePullConsumer> consumers = new HashMap<>();
    private int started;

    void register(Map<String, Driver.Operation> operations) {
        operations.put("pull.start", this::start);
        operations.put("pull.assign", this::assign);
        operations.put("pull.poll", this::poll);
        operations.put("pull.seek", this::seek);
        operations.put("pull.commit", this::commit);
        operations.put("pull.committed", args -> consumer(args).committed(Json.queue(args)));
        operations.put("pull.queues", this::queues);
        operations.put("pull.offsetForTimestamp",
            args -> consumer(args).offsetForTimestamp(Json.queue(args), args.getLong("timestampMs")));
        operations.put("pull.stop", this::stop);
    }

    private DefaultLitePullConsumer consumer(JSONObject args) {
        return consumers.get(args.getString("handle"));
    }

    /** namesrv, group; optional topics {topic: expression} to subscribe to, autoCommit, from. */
    private Object start(JSONObject args) throws MQClientException {
        String handle = "pull-" + ++started;
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(args.getString("group"));
        consumer.setNamesrvAddr(args.getString("namesrv"));
        consumer.setInstanceName(handle);
        consumer.setPollNameServerInterval(1000);
        consumer.setHeartbeatBrokerInterval(1000); // see PushConsumers
        consumer.setAutoCommit(args.getBooleanValue("autoCommit", false));
        consumer.setConsumeFromWhere(args.containsKey("from")
            ? ConsumeFromWhere.valueOf(args.getString("from")) : ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        JSONObject topics = args.getJSONObject("topics");
        if (topics != null) {
            for (String topic : topics.keySet()) {
                consumer.subscribe(topic, topics.getString(topic));
            }
        }
        consumer.start();
        consumers.put(handle, consumer);
        Map<String, Object> answer = new HashMap<>();
        answer.put("handle", handle);
        return answer;
    }

    /** handle, queues: consumes exactly these from now on. */
    private Object assign(JSONObject args) {
        List<MessageQueue> queues = new ArrayList<>();
        JSONArray described = args.getJSONArray("queues");
        for (int i = 0; i < described.size(); i++) {
            queues.add(Json.queue(described.getJSONObject(i)));
        }
        consumer(args).assign(queues);
        return null;
    }

    /** handle, count, timeoutMs: messages, as soon as there are count of them or the time is over. */
    private Object poll(JSONObject args) {
        List<MessageExt> messages = new ArrayList<>();
        int count = args.getIntValue("count");
        long deadlineNs = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(args.getLongValue("timeoutMs"));
        while (messages.size() < count && System.nanoTime() < deadlineNs) {
            long leftMs = TimeUnit.NANOSECONDS.toMillis(deadlineNs - System.nanoTime());
            messages.addAll(consumer(args).poll(Math.max(1, leftMs)));
        }
        return Json.of(messages);
    }

    /** handle, topic, broker, queueId and offset; or to: "begin" or "end". */
    private Object seek(JSONObject args) throws MQClientException {
        MessageQueue queue = Json.queue(args);
        if ("begin".equals(args.getString("to"))) {
            consumer(args).seekToBegin(queue);
        } else if ("end".equals(args.getString("to"))) {
            consumer(args).seekToEnd(queue);
        } else {
            consumer(args).seek(queue, args.getLongValue("offset"));
        }
        return null;
    }

    private Object commit(JSONObject args) {
        consumer(args).commitSync();
        return null;
    }

    /** handle, topic: all readable queues of the topic. */
    private Object queues(JSONObject args) throws MQClientException {
        List<Object> queues = new ArrayList<>();
        for (MessageQueue queue : consumer(args).fetchMessageQueues(args.getString("topic"))) {
            queues.add(Json.of(queue));
        }
        return queues;
    }

    private Object stop(JSONObject args) {
        consumers.remove(args.getString("handle")).shutdown();
        return null;
    }
}
