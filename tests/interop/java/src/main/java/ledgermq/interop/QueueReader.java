package ledgermq.interop;

import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.OffsetNotFoundException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.UpdateConsumerOffsetRequestHeader;

/**
 * {@code queue.*}: one pull request at an exact offset and the offsets of queues and groups, with the deprecated
 * DefaultMQPullConsumer, because it is the one stock class that sends exactly the request it is asked for.
 */
final class QueueReader {
    private static final String GROUP = "INTEROP_QUEUE_READER";

    private static final long TIMEOUT_MS = 10_000;

    private final Map<String, DefaultMQPullConsumer> consumers = new HashMap<>();
    private int started;

    void register(Map<String, Driver.Operation> operations) {
        operations.put("queue.pull", this::pull);
        operations.put("queue.read", this::read);
        operations.put("queue.offsets", this::offsets);
        operations.put("queue.offsetByTime",
            args -> consumer(args).searchOffset(Json.queue(args), args.getLongValue("timestampMs")));
        operations.put("queue.committed", this::committed);
        operations.put("queue.commit", this::commit);
        operations.put("queue.close", this::close);
    }

    private DefaultMQPullConsumer consumer(JSONObject args) throws Exception {
        String namesrv = args.getString("namesrv");
        DefaultMQPullConsumer consumer = consumers.get(namesrv);
        if (consumer == null) {
            consumer = new DefaultMQPullConsumer(GROUP);
            consumer.setNamesrvAddr(namesrv);
            consumer.setInstanceName("queue-reader-" + ++started);
            consumer.start();
            consumers.put(namesrv, consumer);
        }
        return consumer;
    }

    /** namesrv, topic, broker, queueId, offset, count, expression: the answer to this one request. */
    private Object pull(JSONObject args) throws Exception {
        String expression = args.containsKey("expression") ? args.getString("expression") : "*";
        PullResult result = consumer(args).pull(
            Json.queue(args), expression, args.getLongValue("offset"), args.getIntValue("count", 32));
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("status", result.getPullStatus().name());
        answer.put("nextOffset", result.getNextBeginOffset());
        answer.put("minOffset", result.getMinOffset());
        answer.put("maxOffset", result.getMaxOffset());
        answer.put("messages", result.getMsgFoundList() == null ? List.of() : Json.of(result.getMsgFoundList()));
        return answer;
    }

    /** namesrv, topic, broker, queueId: every message of the queue, from its least offset to its greatest. */
    private Object read(JSONObject args) throws Exception {
        DefaultMQPullConsumer consumer = consumer(args);
        MessageQueue queue = Json.queue(args);
        List<MessageExt> messages = new ArrayList<>();
        long offset = consumer.minOffset(queue);
        long end = consumer.maxOffset(queue);
        while (offset < end) {
            PullResult result = consumer.pull(queue, "*", offset, 32);
            if (result.getMsgFoundList() == null || result.getNextBeginOffset() <= offset) {
                throw new IllegalStateException(
                    "reading " + queue + " stopped at " + offset + " of " + end + ": " + result);
            }
            messages.addAll(result.getMsgFoundList());
            offset = result.getNextBeginOffset();
        }
        return Json.of(messages);
    }

    /** namesrv, topic, broker, queueId: {min, max}. */
    private Object offsets(JSONObject args) throws Exception {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("min", consumer(args).minOffset(Json.queue(args)));
        answer.put("max", consumer(args).maxOffset(Json.queue(args)));
        return answer;
    }

    /**
     * namesrv, group, topic, broker, queueId: the group's offset as the broker has it, -1 for none.
     * Asked below the consumer classes: a consumer of that group would take part in its rebalancing.
     */
    private Object committed(JSONObject args) throws Exception {
        MessageQueue queue = Json.queue(args);
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(args.getString("group"));
        header.setTopic(queue.getTopic());
        header.setQueueId(queue.getQueueId());
        header.setBrokerName(queue.getBrokerName());
        try {
            return client(args).getMQClientAPIImpl().queryConsumerOffset(address(args, queue), header, TIMEOUT_MS);
        } catch (OffsetNotFoundException none) {
            return -1;
        }
    }

    /** namesrv, group, topic, broker, queueId, offset: sets the group's offset at the broker. */
    private Object commit(JSONObject args) throws Exception {
        MessageQueue queue = Json.queue(args);
        UpdateConsumerOffsetRequestHeader header = new UpdateConsumerOffsetRequestHeader();
        header.setConsumerGroup(args.getString("group"));
        header.setTopic(queue.getTopic());
        header.setQueueId(queue.getQueueId());
        header.setBrokerName(queue.getBrokerName());
        header.setCommitOffset(args.getLongValue("offset"));
        client(args).getMQClientAPIImpl().updateConsumerOffset(address(args, queue), header, TIMEOUT_MS);
        return null;
    }

    private MQClientInstance client(JSONObject args) throws Exception {
        return consumer(args).getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
    }

    private String address(JSONObject args, MessageQueue queue) throws Exception {
        client(args).updateTopicRouteInfoFromNameServer(queue.getTopic());
        return client(args).findBrokerAddressInPublish(queue.getBrokerName());
    }

    private Object close(JSONObject args) {
        DefaultMQPullConsumer consumer = consumers.remove(args.getString("namesrv"));
        if (consumer != null) {
            consumer.shutdown();
        }
        return null;
    }
}
