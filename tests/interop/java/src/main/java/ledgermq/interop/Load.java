package ledgermq.interop;

import com.alibaba.fastjson2.JSONObject;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.hook.SendMessageContext;
import org.apache.rocketmq.client.hook.SendMessageHook;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.UpdateConsumerOffsetRequestHeader;

/**
 * {@code load.*}: a producer with several threads, a consumer and a group's progress, all going on while the test
 * does something else; and everything they saw.
 *
 * <p>Bodies are unique in a load, {@code <load>.<thread>.<number>}, filled up with dots. An acknowledged send is
 * kept with the number of tries that the client made of it: only of what was tried twice may there be two.
 */
final class Load {
    private static final long REQUEST_TIMEOUT_MS = 3000;
    private static final long COMMIT_GAP_MS = 20;
    private static final long FAILURE_PAUSE_MS = 50;

    private final Map<String, Running> running = new HashMap<>();
    private int started;

    void register(Map<String, Driver.Operation> operations) {
        operations.put("load.start", this::start);
        operations.put("load.count", args -> running.get(args.getString("handle")).count());
        operations.put("load.take", args -> running.get(args.getString("handle")).take());
        operations.put("load.resumeProgress", args -> running.get(args.getString("handle")).resumeProgress());
        operations.put("load.stopSending", args -> running.get(args.getString("handle")).stopSending());
        operations.put("load.stop", this::stop);
    }

    /**
     * namesrv, topic, producerGroup, threads, batch (messages of each send), gapMs (between two sends of a thread),
     * bodyBytes, pollMs (between two looks at the routes), timeoutMs (of a send with its retries); optional
     * consumerGroup (a push consumer of the topic), fromLast (what it begins with in a queue that is new to it: the
     * client's default, instead of the first message), progressGroup (a group that exists, whose offset in each queue is
     * moved, request by request, to behind the newest acknowledged message). Progress halts at the first request that
     * fails and at a new master, so that what the new master knows can be looked at, until load.resumeProgress.
     */
    private Object start(JSONObject args) throws MQClientException {
        String handle = "load-" + ++started;
        Running load = new Running(handle, args);
        running.put(handle, load);
        load.start();
        return Map.of("handle", handle);
    }

    /** handle: ends what still goes on; what was seen and not taken is lost. */
    private Object stop(JSONObject args) throws InterruptedException {
        Running load = running.remove(args.getString("handle"));
        load.stopSending();
        load.stopConsuming();
        return null;
    }

    private static final class Running {
        private final String handle;
        private final JSONObject args;
        private final String topic;
        private final DefaultMQProducer producer;
        private final DefaultMQPushConsumer consumer;
        private final List<Thread> threads = new ArrayList<>();
        private final AtomicInteger acknowledgedCount = new AtomicInteger();
        private final AtomicInteger failedCount = new AtomicInteger();
        private final AtomicInteger deliveredCount = new AtomicInteger();
        private final AtomicInteger committedCount = new AtomicInteger();
        private final Map<MessageQueue, Long> newest = new ConcurrentHashMap<>();
        private final ThreadLocal<Integer> tries = ThreadLocal.withInitial(() -> 0);
        private final Object lock = new Object();
        private List<Object> acknowledged = new ArrayList<>();
        private List<Object> failed = new ArrayList<>();
        private List<Object> committed = new ArrayList<>();
        private List<Object> delivered = new ArrayList<>();
        private volatile boolean over;
        private volatile boolean halted;
        private volatile String master;

        Running(String handle, JSONObject args) throws MQClientException {
            this.handle = handle;
            this.args = args;
            topic = args.getString("topic");
            int pollMs = args.getIntValue("pollMs", 1000);
            producer = new DefaultMQProducer(args.getString("producerGroup"));
            producer.setNamesrvAddr(args.getString("namesrv"));
            producer.setInstanceName(handle + "-producer");
            producer.setPollNameServerInterval(pollMs);
            producer.setSendMsgTimeout(args.getIntValue("timeoutMs", 3000));
            producer.setVipChannelEnabled(false);
            consumer = args.containsKey("consumerGroup")
                ? new DefaultMQPushConsumer(args.getString("consumerGroup")) : null;
            if (consumer != null) {
                consumer.setNamesrvAddr(args.getString("namesrv"));
                consumer.setInstanceName(handle + "-consumer");
                consumer.setPollNameServerInterval(pollMs);
                consumer.setHeartbeatBrokerInterval(1000); // see PushConsumers
                consumer.setConsumeFromWhere(args.getBooleanValue("fromLast")
                    ? ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET : ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
                consumer.setVipChannelEnabled(false);
                consumer.subscribe(topic, "*");
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    messages.forEach(this::deliver);
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
            }
        }

        void start() throws MQClientException {
            producer.getDefaultMQProducerImpl().registerSendMessageHook(new SendMessageHook() {
                @Override
                public String hookName() {
                    return "count tries";
                }

                @Override
                public void sendMessageBefore(SendMessageContext context) {
                    tries.set(tries.get() + 1);
                }

                @Override
                public void sendMessageAfter(SendMessageContext context) {
                }
            });
            producer.start();
            if (consumer != null) {
                consumer.start();
            }
            for (int i = 0; i < args.getIntValue("threads", 4); i++) {
                String lane = handle + "." + i + ".";
                threads.add(new Thread(() -> send(lane), handle + " sends " + i));
            }
            if (args.containsKey("progressGroup")) {
                threads.add(new Thread(this::makeProgress, handle + " makes progress"));
            }
            threads.forEach(thread -> thread.setDaemon(true));
            threads.forEach(Thread::start);
        }

        private void send(String lane) {
            int batch = args.getIntValue("batch", 1);
            int bodyBytes = args.getIntValue("bodyBytes", 64);
            for (int number = 0; !over; number += batch) {
                List<Message> messages = new ArrayList<>();
                List<String> bodies = new ArrayList<>();
                for (int i = 0; i < batch; i++) {
                    String id = lane + (number + i);
                    String body = id + ".".repeat(Math.max(0, bodyBytes - id.length()));
                    bodies.add(body);
                    Message message = new Message(topic, body.getBytes(StandardCharsets.US_ASCII));
                    message.setKeys(id);
                    messages.add(message);
                }
                tries.set(0);
                try {
                    SendResult result = batch == 1 ? producer.send(messages.get(0)) : producer.send(messages);
                    acknowledge(bodies, result);
                } catch (Exception error) {
                    fail(bodies, error);
                    pause(FAILURE_PAUSE_MS);
                }
                pause(args.getIntValue("gapMs", 5));
            }
        }

        private void acknowledge(List<String> bodies, SendResult result) {
            long nowMs = System.currentTimeMillis();
            MessageQueue queue = result.getMessageQueue();
            synchronized (lock) {
                for (int i = 0; i < bodies.size(); i++) {
                    acknowledged.add(List.of(bodies.get(i), result.getSendStatus().name(), queue.getBrokerName(),
                        queue.getQueueId(), result.getQueueOffset() + i, tries.get(), nowMs));
                }
            }
            acknowledgedCount.addAndGet(bodies.size());
            newest.merge(queue, result.getQueueOffset() + bodies.size(), Math::max);
        }

        private void fail(List<String> bodies, Exception error) {
            synchronized (lock) {
                for (String body : bodies) {
                    failed.add(List.of(body, tries.get(), String.valueOf(error.getMessage()), System.currentTimeMillis()));
                }
            }
            failedCount.addAndGet(bodies.size());
        }

        private void deliver(MessageExt message) {
            synchronized (lock) {
                delivered.add(List.of(message.getBrokerName(), message.getQueueId(), message.getQueueOffset(),
                    new String(message.getBody(), StandardCharsets.US_ASCII)));
            }
            deliveredCount.incrementAndGet();
        }

        private void makeProgress() {
            MQClientInstance client = producer.getDefaultMQProducerImpl().getMqClientFactory();
            Map<MessageQueue, Long> told = new HashMap<>();
            while (!over) {
                for (Map.Entry<MessageQueue, Long> entry : newest.entrySet()) {
                    long offset = entry.getValue();
                    if (!halted && offset > told.getOrDefault(entry.getKey(), -1L)) {
                        halted = !commit(client, entry.getKey(), offset);
                        told.put(entry.getKey(), offset);
                    }
                }
                pause(COMMIT_GAP_MS);
            }
        }

        /** Whether the master took it, and is the one that took the last one. */
        private boolean commit(MQClientInstance client, MessageQueue queue, long offset) {
            String address = client.findBrokerAddressInPublish(queue.getBrokerName());
            if (address == null || master != null && !master.equals(address)) {
                return false;
            }
            master = address;
            UpdateConsumerOffsetRequestHeader header = new UpdateConsumerOffsetRequestHeader();
            header.setConsumerGroup(args.getString("progressGroup"));
            header.setTopic(queue.getTopic());
            header.setQueueId(queue.getQueueId());
            header.setBrokerName(queue.getBrokerName());
            header.setCommitOffset(offset);
            long askedMs = System.currentTimeMillis();
            try {
                client.getMQClientAPIImpl().updateConsumerOffset(address, header, REQUEST_TIMEOUT_MS);
            } catch (Exception refused) {
                return false;
            }
            committedCount.incrementAndGet();
            synchronized (lock) {
                committed.add(List.of(queue.getBrokerName(), queue.getQueueId(), offset, askedMs));
            }
            return true;
        }

        private Object resumeProgress() {
            master = null;
            halted = false;
            return null;
        }

        /** How many of each there were since the start; halted is 1 while no progress is made. */
        Object count() {
            return Map.of("acknowledged", acknowledgedCount.get(), "failed", failedCount.get(),
                "delivered", deliveredCount.get(), "committed", committedCount.get(), "halted", halted ? 1 : 0);
        }

        /** What was seen since it was last asked. */
        Object take() {
            Map<String, Object> seen = new LinkedHashMap<>();
            synchronized (lock) {
                seen.put("acknowledged", acknowledged);
                seen.put("failed", failed);
                seen.put("committed", committed);
                seen.put("delivered", delivered);
                acknowledged = new ArrayList<>();
                failed = new ArrayList<>();
                committed = new ArrayList<>();
                delivered = new ArrayList<>();
            }
            return seen;
        }

        /** Each send that is under way ends first. The consumer goes on. */
        Object stopSending() throws InterruptedException {
            over = true;
            for (Thread thread : threads) {
                thread.join();
            }
            threads.clear();
            return null;
        }

        /** Does not wait: a client that has lost a connection may spend three seconds to shut down. */
        void stopConsuming() {
            Thread stopping = new Thread(() -> {
                producer.shutdown();
                if (consumer != null) {
                    consumer.shutdown();
                }
            }, "stop " + handle);
            stopping.setDaemon(true);
            stopping.start();
        }

        private static void pause(long ms) {
            try {
                Thread.sleep(ms);
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
