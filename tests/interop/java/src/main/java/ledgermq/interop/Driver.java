package ledgermq.interop;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import com.alibaba.fastjson2.JSONWriter;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/**
 * One long-lived JVM that runs the stock Java client, admin library and mqadmin for the tests.
 *
 * <p>Line protocol, UTF-8 JSON, one command at a time:
 * in {@code {"op": "producer.start", "args": {...}}},
 * out {@code {"result": ...}} or {@code {"error": {"class", "message", "code", "stack"}}}.
 * Consumers that were started keep running between commands and gather what they receive until they are polled.
 *
 * <p>Rules: the answers go to the file descriptor 1 that the process started with; {@link System#out} belongs to
 * mqadmin (see {@link Mqadmin}) and everything printed there outside of a command ends up on standard error.
 */
public final class Driver {

    /** One command: takes the decoded arguments, returns anything fastjson can write. */
    interface Operation {
        Object run(JSONObject args) throws Exception;
    }

    private Driver() {
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        System.setOut(System.err);

        Map<String, Operation> operations = new LinkedHashMap<>();
        new Producers().register(operations);
        new PushConsumers().register(operations);
        new LitePullConsumers().register(operations);
        new QueueReader().register(operations);
        new Admin().register(operations);
        new Mqadmin().register(operations);
        new DLedger().register(operations);
        new Load().register(operations);
        new BrokerReader().register(operations);

        answers.println("{\"ready\":true}");
        answers.flush();
        int exitCode = 1;
        try {
            BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = commands.readLine(); line != null; line = commands.readLine()) {
                answers.println(JSON.toJSONString(answer(operations, line),
                    JSONWriter.Feature.WriteNulls, JSONWriter.Feature.WriteNonStringKeyAsString));
                answers.flush();
            }
            exitCode = 0;
        } catch (Throwable error) {
            error.printStackTrace();
        } finally {
            // Client threads are not daemons: without this the JVM would outlive its tests.
            Runtime.getRuntime().halt(exitCode);
        }
    }

    private static Map<String, Object> answer(Map<String, Operation> operations, String line) {
        Map<String, Object> answer = new LinkedHashMap<>();
        try {
            JSONObject command = JSON.parseObject(line);
            Operation operation = operations.get(command.getString("op"));
            if (operation == null) {
                throw new IllegalArgumentException("no op '" + command.getString("op") + "', there are " + operations.keySet());
            }
            JSONObject args = command.getJSONObject("args");
            answer.put("result", operation.run(args == null ? new JSONObject() : args));
        } catch (Throwable error) {
            answer.put("error", describe(error));
        }
        return answer;
    }

    /** {@code code} is the broker's or client's response code, -1 where the error carries none. */
    static Map<String, Object> describe(Throwable error) {
        Map<String, Object> description = new LinkedHashMap<>();
        description.put("class", error.getClass().getSimpleName());
        description.put("message", String.valueOf(error.getMessage()));
        description.put("code", responseCode(error));
        StringWriter stack = new StringWriter();
        error.printStackTrace(new PrintWriter(stack));
        description.put("stack", stack.toString());
        return description;
    }

    private static int responseCode(Throwable error) {
        if (error instanceof MQBrokerException) {
            return ((MQBrokerException) error).getResponseCode();
        }
        if (error instanceof MQClientException) {
            return ((MQClientException) error).getResponseCode();
        }
        return -1;
    }
}
