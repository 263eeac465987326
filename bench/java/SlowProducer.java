import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * A few messages a second with the stock producer, one line each: SlowProducer NAMESRV TOPIC POLL-MS INTERVAL-MS THREADS.
 *
 * POLL-MS is how often routes are asked for, 0 for the stock setting. A line is "BEGIN-NS END-NS OK PORT" with the port
 * of the broker that stored the message, or "BEGIN-NS END-NS FAILED REASON"; the clock is System.nanoTime, on Linux the
 * one of Python's time.monotonic_ns.
 */
public final class SlowProducer {
    public static void main(String[] args) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("slow_producer");
        producer.setNamesrvAddr(args[0]);
        int pollMs = Integer.parseInt(args[2]);
        if (pollMs > 0) {
            producer.setPollNameServerInterval(pollMs);
        }
        producer.start();
        long intervalMs = Long.parseLong(args[3]);
        for (int thread = Integer.parseInt(args[4]); thread > 0; thread--) {
            new Thread(() -> sendForever(producer, args[1], intervalMs)).start();
        }
    }

    private static void sendForever(DefaultMQProducer producer, String topic, long intervalMs) {
        byte[] body = new byte[128];
        while (true) {
            long begin = System.nanoTime();
            String outcome;
            try {
                SendResult result = producer.send(new Message(topic, body));
                outcome = result.getSendStatus() == SendStatus.SEND_OK
                    ? "OK " + Integer.parseInt(result.getOffsetMsgId().substring(8, 16), 16)
                    : "FAILED " + result.getSendStatus();
            } catch (Exception error) {
                outcome = "FAILED " + String.valueOf(error).replace('\n', ' ');
            }
            System.out.println(begin + " " + System.nanoTime() + " " + outcome);
            try {
                Thread.sleep(intervalMs);
            } catch (InterruptedException interrupted) {
                return;
            }
        }
    }
}
