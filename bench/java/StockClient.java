import java.util.Arrays;
import org.apache.rocketmq.client.impl.MQClientManager;
import org.apache.rocketmq.client.impl.consumer.DefaultMQPushConsumerImpl;
import org.apache.rocketmq.client.impl.consumer.MQConsumerInner;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * Runs one of the stock benchmark programs: StockClient ENCODING TOPIC MAIN-CLASS ARGUMENTS...
 *
 * The stock programs set the header encoding to ROCKETMQ when they start. RemotingCommand reads the setting once,
 * when it is loaded, so loading it first keeps ours. The stock consumer prints rates over ten seconds only; the lines
 * "consumed N" add the exact count, read from the offsets the consumer itself keeps.
 */
public final class StockClient {
    public static void main(String[] args) throws Exception {
        System.setProperty(RemotingCommand.SERIALIZE_TYPE_PROPERTY, args[0]);
        if (!RemotingCommand.getSerializeTypeConfigInThisServer().name().equals(args[0])) {
            throw new IllegalStateException("header encoding " + args[0] + " was not taken");
        }
        String topic = args[1];
        Class<?> program = Class.forName(args[2]);
        String[] rest = Arrays.copyOfRange(args, 3, args.length);
        program.getMethod("main", String[].class).invoke(null, (Object) rest);
        if (args[2].endsWith(".Consumer")) {
            reportConsumed(topic);
        }
    }

    private static void reportConsumed(String topic) throws InterruptedException {
        while (true) {
            long consumed = 0;
            for (MQClientInstance client : MQClientManager.getInstance().getFactoryTable().values()) {
                for (MQConsumerInner consumer : client.getConsumerTable().values()) {
                    consumed += consumed((DefaultMQPushConsumerImpl) consumer, topic);
                }
            }
            System.out.printf("%d consumed %d%n", System.nanoTime(), consumed);
            System.out.flush();
            Thread.sleep(50);
        }
    }

    private static long consumed(DefaultMQPushConsumerImpl consumer, String topic) {
        long consumed = 0;
        for (MessageQueue queue : consumer.getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                consumed += Math.max(0, consumer.getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_MEMORY));
            }
        }
        return consumed;
    }
}
