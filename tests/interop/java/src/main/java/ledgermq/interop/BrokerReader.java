package ledgermq.interop;

import com.alibaba.fastjson2.JSONObject;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.OffsetNotFoundException;
import org.apache.rocketmq.client.impl.CommunicationMode;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.consumer.PullResultExt;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.heartbeat.SubscriptionData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** {@code broker.*}: requests to the one broker at an address, master or slave, with the stock client's code. */
final class BrokerReader {
    private static final String GROUP = "INTEROP_BROKER_READER";
    private static final long TIMEOUT_MS = 5000;

    private DefaultMQAdminExt admin;

    void register(Map<String, Driver.Operation> operations) {
        operations.put("broker.bodies", this::bodies);
        operations.put("broker.maxOffset", this::maxOffset);
        operations.put("broker.committed", this::committed);
        operations.put("broker.createGroup", this::createGroup);
        operations.put("broker.runtimeInfo",
            args -> admin().fetchBrokerRuntimeStats(args.getString("address")).getTable());
        operations.put("broker.topics", args -> admin()
            .getAllTopicConfig(args.getString("address"), TIMEOUT_MS).getTopicConfigTable().keySet());
        operations.put("broker.groups", args -> admin()
            .getAllSubscriptionGroup(args.getString("address"), TIMEOUT_MS).getSubscriptionGroupTable().keySet());
    }

    /** Never asks a name server: it is started for its client. */
    private DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            admin = new DefaultMQAdminExt(TIMEOUT_MS);
            admin.setNamesrvAddr("127.0.0.1:1");
            admin.setInstanceName("broker-reader");
            admin.start();
        }
        return admin;
    }

    private MQClientAPIImpl client() throws Exception {
        return admin().getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl();
    }

    /** address, topic, queueId; optional from: [queue offset, body] of each message that a pull gets, in order. */
    private Object bodies(JSONObject args) throws Exception {
        List<Object> read = new ArrayList<>();
        long offset = args.getLongValue("from", 0);
        while (true) {
            PullResult result = pull(args, offset);
            switch (result.getPullStatus()) {
                case FOUND:
                    for (MessageExt message : MessageDecoder.decodesBatch(
                        ByteBuffer.wrap(((PullResultExt) result).getMessageBinary()), true, true, false)) {
                        read.add(List.of(message.getQueueOffset(), new String(message.getBody(), StandardCharsets.US_ASCII)));
                    }
                    offset = result.getNextBeginOffset();
                    break;
                case OFFSET_ILLEGAL:
                    if (result.getNextBeginOffset() > offset) {
                        offset = result.getNextBeginOffset();
                        break;
                    }
                    return read;
                default:
                    return read;
            }
        }
    }

    /** address, topic, queueId: the offset behind the last message that a pull could get, 0 for none. */
    private Object maxOffset(JSONObject args) throws Exception {
        return pull(args, 0).getMaxOffset();
    }

    private PullResult pull(JSONObject args, long offset) throws Exception {
        PullMessageRequestHeader header = new PullMessageRequestHeader();
        header.setConsumerGroup(GROUP);
        header.setTopic(args.getString("topic"));
        header.setQueueId(args.getIntValue("queueId"));
        header.setQueueOffset(offset);
        header.setMaxMsgNums(32);
        header.setSysFlag(0b100); // with its subscription; neither a commit nor a wait
        header.setCommitOffset(0L);
        header.setSuspendTimeoutMillis(0L);
        header.setSubscription(SubscriptionData.SUB_ALL);
        header.setSubVersion(0L);
        header.setExpressionType("TAG");
        return client().pullMessage(args.getString("address"), header, TIMEOUT_MS, CommunicationMode.SYNC, null);
    }

    /** address, group. */
    private Object createGroup(JSONObject args) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(args.getString("group"));
        admin().createAndUpdateSubscriptionGroupConfig(args.getString("address"), config);
        return null;
    }

    /** address, group, topic, queueId: the group's offset as this broker has it, -1 for none. */
    private Object committed(JSONObject args) throws Exception {
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(args.getString("group"));
        header.setTopic(args.getString("topic"));
        header.setQueueId(args.getIntValue("queueId"));
        header.setSetZeroIfNotFound(false);
        try {
            return client().queryConsumerOffset(args.getString("address"), header, TIMEOUT_MS);
        } catch (OffsetNotFoundException none) {
            return -1;
        }
    }
}
