import java.util.Arrays;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * One thread sending synchronously with the stock producer: LatencyProducer NAMESRV TOPIC BODY-BYTES WARMUP-S WINDOW-S.
 *
 * The stock benchmark prints averages only. Prints "measuring" when the warm-up is over, then one JSON line of
 * percentiles in microseconds over every send of the window.
 */
public final class LatencyProducer {
    public static void main(String[] args) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("latency_producer");
        producer.setNamesrvAddr(args[0]);
        producer.start();
        byte[] body = new byte[Integer.parseInt(args[2])];
        Arrays.fill(body, (byte) 'x');

        long end = System.nanoTime() + seconds(args[3]);
        while (System.nanoTime() < end) {
            send(producer, args[1], body);
        }
        System.out.println("measuring");
        long[] elapsedNs = new long[4_000_000];
        int count = 0;
        long start = System.nanoTime();
        end = start + seconds(args[4]);
        while (start < end && count < elapsedNs.length) {
            send(producer, args[1], body);
            long now = System.nanoTime();
            elapsedNs[count++] = now - start;
            start = now;
        }
        Arrays.sort(elapsedNs, 0, count);
        System.out.printf("{\"messages\": %d, \"p50_us\": %.1f, \"p95_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}%n",
            count, at(elapsedNs, count, 0.5), at(elapsedNs, count, 0.95), at(elapsedNs, count, 0.99),
            elapsedNs[count - 1] / 1e3);
        producer.shutdown();
    }

    private static void send(DefaultMQProducer producer, String topic, byte[] body) throws Exception {
        SendStatus status = producer.send(new Message(topic, body)).getSendStatus();
        if (status != SendStatus.SEND_OK) {
            throw new IllegalStateException("a send ended with " + status);
        }
    }

    private static double at(long[] sorted, int count, double fraction) {
        return sorted[(int) Math.min(count - 1, count * fraction)] / 1e3;
    }

    private static long seconds(String text) {
        return (long) (Double.parseDouble(text) * 1e9);
    }
}
