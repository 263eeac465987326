package ledgermq.interop;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** {@code admin.*}: DefaultMQAdminExt, where the answer as objects is easier to check than mqadmin's print. */
final class Admin {
    private final Map<String, DefaultMQAdminExt> admins = new HashMap<>();

    void register(Map<String, Driver.Operation> operations) {
        operations.put("admin.createTopic", this::createTopic);
        operations.put("admin.queryKey", this::queryKey);
        operations.put("admin.viewMessage",
            args -> Json.of(admin(args).viewMessage(args.getString("topic"), args.getString("msgId"))));
        operations.put("admin.consumeStats", this::consumeStats);
        operations.put("admin.resetOffset", this::resetOffset);
        operations.put("admin.runningInfo", this::runningInfo);
        operations.put("admin.consumeDirectly", this::consumeDirectly);
        operations.put("admin.topicRoute",
            args -> JSON.parse(JSON.toJSONString(admin(args).examineTopicRouteInfo(args.getString("topic")))));
        operations.put("admin.topicConfig", args -> JSON.parse(JSON.toJSONString(
            admin(args).examineTopicConfig(args.getString("address"), args.getString("topic")))));
        operations.put("admin.clusterInfo", args -> JSON.parse(JSON.toJSONString(admin(args).examineBrokerClusterInfo())));
        operations.put("admin.close", this::close);
    }

    private DefaultMQAdminExt admin(JSONObject args) throws Exception {
        String namesrv = args.getString("namesrv");
        DefaultMQAdminExt admin = admins.get(namesrv);
        if (admin == null) {
            admin = new DefaultMQAdminExt(10_000L);
            admin.setNamesrvAddr(namesrv);
            admin.setInstanceName("admin-" + admins.size());
            admin.start();
            admins.put(namesrv, admin);
        }
        return admin;
    }

    private Object close(JSONObject args) {
        DefaultMQAdminExt admin = admins.remove(args.getString("namesrv"));
        if (admin != null) {
            admin.shutdown();
        }
        return null;
    }

    /** namesrv, address (of the broker), topic, queueCount; optional perm. */
    private Object createTopic(JSONObject args) throws Exception {
        int queueCount = args.getIntValue("queueCount");
        TopicConfig config = new TopicConfig(args.getString("topic"), queueCount, queueCount, args.getIntValue("perm", 6));
        admin(args).createAndUpdateTopicConfig(args.getString("address"), config);
        return null;
    }

    /** namesrv, topic, key, count; the whole of time. */
    private Object queryKey(JSONObject args) throws Exception {
        QueryResult result = admin(args).queryMessage(
            args.getString("topic"), args.getString("key"), args.getIntValue("count", 64), 0, Long.MAX_VALUE);
        return Json.of(result.getMessageList());
    }

    /** namesrv, group: per queue brokerOffset, consumerOffset and diff. */
    private Object consumeStats(JSONObject args) throws Exception {
        ConsumeStats stats = admin(args).examineConsumeStats(args.getString("group"));
        List<Object> rows = new ArrayList<>();
        for (Map.Entry<MessageQueue, OffsetWrapper> entry : stats.getOffsetTable().entrySet()) {
            Map<String, Object> row = Json.of(entry.getKey());
            row.put("brokerOffset", entry.getValue().getBrokerOffset());
            row.put("consumerOffset", entry.getValue().getConsumerOffset());
            row.put("lastTimestamp", entry.getValue().getLastTimestamp());
            rows.add(row);
        }
        return rows;
    }

    /** namesrv, topic, group, timestampMs: the new offset of each queue. */
    private Object resetOffset(JSONObject args) throws Exception {
        List<Object> rows = new ArrayList<>();
        Map<MessageQueue, Long> offsets = admin(args).resetOffsetByTimestamp(
            args.getString("topic"), args.getString("group"), args.getLongValue("timestampMs"), true);
        offsets.forEach((queue, offset) -> {
            Map<String, Object> row = Json.of(queue);
            row.put("offset", offset);
            rows.add(row);
        });
        return rows;
    }

    /** namesrv, group, clientId: what the client itself says, relayed by the broker. */
    private Object runningInfo(JSONObject args) throws Exception {
        ConsumerRunningInfo info = admin(args).getConsumerRunningInfo(
            args.getString("group"), args.getString("clientId"), args.getBooleanValue("jstack"));
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("properties", info.getProperties());
        List<Object> subscriptions = new ArrayList<>();
        info.getSubscriptionSet().forEach(subscription -> subscriptions.add(
            Map.of("topic", subscription.getTopic(), "expression", subscription.getSubString())));
        answer.put("subscriptions", subscriptions);
        List<Object> queues = new ArrayList<>();
        info.getMqTable().forEach((queue, state) -> {
            Map<String, Object> row = Json.of(queue);
            row.put("commitOffset", state.getCommitOffset());
            queues.add(row);
        });
        answer.put("queues", queues);
        answer.put("jstack", info.getJstack());
        return answer;
    }

    /** namesrv, group, clientId, topic, msgId: has that client's listener consume the message now. */
    private Object consumeDirectly(JSONObject args) throws Exception {
        ConsumeMessageDirectlyResult result = admin(args).consumeMessageDirectly(
            args.getString("group"), args.getString("clientId"), args.getString("topic"), args.getString("msgId"));
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("result", String.valueOf(result.getConsumeResult()));
        answer.put("order", result.isOrder());
        answer.put("remark", result.getRemark());
        return answer;
    }
}
