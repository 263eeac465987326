package ledgermq.interop;

import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** {@code push.*}: DefaultMQPushConsumer; what a listener is given is kept until {@code push.poll} takes it. */
final class PushConsumers {
    private final Map<String, Running> consumers = new HashMap<>();
    private int started;

    void register(Map<String, Driver.Operation> operations) {
        operations.put("push.start", this::start);
        operations.put("push.poll", this::poll);
        operations.put("push.queues", this::queues);
        operations.put("push.suspend", args -> setSuspended(args, true));
        operations.put("push.resume", args -> setSuspended(args, false));
        operations.put("push.stop", this::stop);
    }

    /**
     * namesrv, group, topics {topic: expression}; optional orderly, broadcast, from (ConsumeFromWhere),
     * fromTimestamp (yyyyMMddHHmmss), maxReconsumeTimes, failTimes (each message fails while its reconsumeTimes is
     * below this; -1 always), delayLevel (of the next try), suspendMs (orderly), batch, heartbeatV2, instance,
     * vipChannel.
     */
    private Object start(JSONObject args) throws MQClientException {
        String handle = "push-" + ++started;
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args.getString("group"));
        consumer.setNamesrvAddr(args.getString("namesrv"));
        consumer.setInstanceName(args.containsKey("instance") ? args.getString("instance") : handle);
        // The retry topic of a new group exists after its first heartbeat: do not wait 30 s to hear of it.
        consumer.setPollNameServerInterval(1000);
        // The client marks its subscription newer when it rebalances and tells the broker by a heartbeat, which it
        // drops if another one is under way: until the next, 30 s later by default, its pulls are refused.
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setConsumeFromWhere(args.containsKey("from")
            ? ConsumeFromWhere.valueOf(args.getString("from")) : ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if (args.containsKey("fromTimestamp")) {
            consumer.setConsumeTimestamp(args.getString("fromTimestamp"));
        }
        if (args.getBooleanValue("broadcast")) {
            consumer.setMessageModel(MessageModel.BROADCASTING);
        }
        consumer.setMaxReconsumeTimes(args.getIntValue("maxReconsumeTimes", -1));
        consumer.setConsumeMessageBatchMaxSize(args.getIntValue("batch", 1));
        consumer.setSuspendCurrentQueueTimeMillis(args.getIntValue("suspendMs", 50));
        consumer.setUseHeartbeatV2(args.getBooleanValue("heartbeatV2", false));
        consumer.setVipChannelEnabled(args.getBooleanValue("vipChannel", false));
        // A delivery is polled before the client counts it as consumed: stopping waits for that.
        consumer.setAwaitTerminationMillisWhenShutdown(5000);
        JSONObject topics = args.getJSONObject("topics");
        for (String topic : topics.keySet()) {
            consumer.subscribe(topic, topics.getString(topic));
        }
        Running running = new Running(consumer, args);
        if (args.getBooleanValue("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) running::consumeOrderly);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) running::consumeConcurrently);
        }
        consumer.start();
        consumers.put(handle, running);
        Map<String, Object> answer = new HashMap<>();
        answer.put("handle", handle);
        answer.put("clientId", consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId());
        return answer;
    }

    /** handle, count, timeoutMs: deliveries so far, as soon as there are count of them or the time is over. */
    private Object poll(JSONObject args) throws InterruptedException {
        return consumers.get(args.getString("handle"))
            .take(args.getIntValue("count"), args.getLongValue("timeoutMs"));
    }

    /** handle: the queues that rebalancing has given to this consumer. */
    private Object queues(JSONObject args) {
        List<Object> queues = new ArrayList<>();
        consumers.get(args.getString("handle")).consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl()
            .getProcessQueueTable().keySet().forEach(queue -> queues.add(Json.of(queue)));
        return queues;
    }

    private Object setSuspended(JSONObject args, boolean suspended) {
        DefaultMQPushConsumer consumer = consumers.get(args.getString("handle")).consumer;
        if (suspended) {
            consumer.suspend();
        } else {
            consumer.resume();
        }
        return null;
    }

    private Object stop(JSONObject args) {
        consumers.remove(args.getString("handle")).consumer.shutdown();
        return null;
    }

    /** A started consumer, its rule for failing and the deliveries nobody has polled yet. */
    private static final class Running {
        final DefaultMQPushConsumer consumer;
        private final int failTimes;
        private final int delayLevel;
        private final LinkedBlockingQueue<Map<String, Object>> deliveries = new LinkedBlockingQueue<>();

        Running(DefaultMQPushConsumer consumer, JSONObject args) {
            this.consumer = consumer;
            this.failTimes = args.getIntValue("failTimes", 0);
            this.delayLevel = args.getIntValue("delayLevel", 0);
        }

        ConsumeConcurrentlyStatus consumeConcurrently(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
            context.setDelayLevelWhenNextConsume(delayLevel);
            return receive(messages) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        }

        ConsumeOrderlyStatus consumeOrderly(List<MessageExt> messages, ConsumeOrderlyContext context) {
            return receive(messages) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
        }

        private boolean receive(List<MessageExt> messages) {
            boolean consumed = true;
            for (MessageExt message : messages) {
                deliveries.add(Json.of(message));
                consumed &= failTimes >= 0 && message.getReconsumeTimes() >= failTimes;
            }
            return consumed;
        }

        List<Map<String, Object>> take(int count, long timeoutMs) throws InterruptedException {
            List<Map<String, Object>> taken = new ArrayList<>();
            long deadlineNs = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeoutMs);
            while (taken.size() < count) {
                Map<String, Object> next = deliveries.poll(deadlineNs - System.nanoTime(), TimeUnit.NANOSECONDS);
                if (next == null) {
                    break;
                }
                taken.add(next);
            }
            deliveries.drainTo(taken);
            return taken;
        }
    }
}
