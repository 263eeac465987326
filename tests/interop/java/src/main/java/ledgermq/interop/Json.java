package ledgermq.interop;

import com.alibaba.fastjson2.JSONObject;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The JSON shapes that the operations share: messages, queues and send results. Bodies travel as base64. */
final class Json {
    private Json() {
    }

    static MessageQueue queue(JSONObject json) {
        return new MessageQueue(json.getString("topic"), json.getString("broker"), json.getIntValue("queueId"));
    }

    static Map<String, Object> of(MessageQueue queue) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("topic", queue.getTopic());
        json.put("broker", queue.getBrokerName());
        json.put("queueId", queue.getQueueId());
        return json;
    }

    static Message message(String topic, JSONObject json) {
        Message message = new Message(topic, Base64.getDecoder().decode(json.getString("body")));
        if (json.containsKey("tags")) {
            message.setTags(json.getString("tags"));
        }
        if (json.containsKey("keys")) {
            message.setKeys(json.getString("keys"));
        }
        if (json.containsKey("delayLevel")) {
            message.setDelayTimeLevel(json.getIntValue("delayLevel"));
        }
        message.setFlag(json.getIntValue("flag"));
        JSONObject properties = json.getJSONObject("properties");
        if (properties != null) {
            for (String name : properties.keySet()) {
                message.putUserProperty(name, properties.getString(name));
            }
        }
        return message;
    }

    static Map<String, Object> of(SendResult result) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("status", result.getSendStatus().name());
        json.put("msgId", result.getMsgId());
        json.put("offsetMsgId", result.getOffsetMsgId());
        json.put("queue", of(result.getMessageQueue()));
        json.put("queueOffset", result.getQueueOffset());
        json.put("regionId", result.getRegionId());
        return json;
    }

    static Map<String, Object> of(MessageExt message) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("topic", message.getTopic());
        json.put("broker", message.getBrokerName());
        json.put("queueId", message.getQueueId());
        json.put("queueOffset", message.getQueueOffset());
        json.put("msgId", message.getMsgId());
        json.put("offsetMsgId", offsetMsgId(message));
        json.put("logOffset", message.getCommitLogOffset());
        json.put("body", message.getBody() == null ? "" : Base64.getEncoder().encodeToString(message.getBody()));
        json.put("tags", message.getTags());
        json.put("keys", message.getKeys());
        // A copy: the client goes on changing the message while the answer is written.
        json.put("properties", new HashMap<>(message.getProperties()));
        json.put("flag", message.getFlag());
        json.put("sysFlag", message.getSysFlag());
        json.put("bornTimestamp", message.getBornTimestamp());
        json.put("storeTimestamp", message.getStoreTimestamp());
        json.put("bornHost", String.valueOf(message.getBornHost()));
        json.put("storeHost", String.valueOf(message.getStoreHost()));
        json.put("storeSize", message.getStoreSize());
        json.put("bodyCrc", message.getBodyCRC());
        json.put("reconsumeTimes", message.getReconsumeTimes());
        return json;
    }

    static List<Map<String, Object>> of(List<? extends MessageExt> messages) {
        List<Map<String, Object>> json = new ArrayList<>();
        for (MessageExt message : messages) {
            json.add(of(message));
        }
        return json;
    }

    /** The id made of store host and log offset; {@link MessageExt#getMsgId} of a client message is the unique key. */
    private static String offsetMsgId(MessageExt message) {
        return message instanceof MessageClientExt ? ((MessageClientExt) message).getOffsetMsgId() : message.getMsgId();
    }
}
