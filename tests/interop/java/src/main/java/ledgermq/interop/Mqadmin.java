package ledgermq.interop;

import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.srvutil.ServerUtil;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/**
 * {@code mqadmin}: runs one of mqadmin's own sub-commands and answers with what it printed.
 *
 * <p>It parses and executes as {@link MQAdminStartup} does, in this JVM, without its System.exit on a wrong option
 * and without swallowing the exception a command ends with.
 */
final class Mqadmin extends MQAdminStartup {

    void register(Map<String, Driver.Operation> operations) {
        operations.put("mqadmin", this::run);
    }

    /** namesrv, args: the command line after "mqadmin". Answers {out, err}. */
    private Object run(JSONObject args) throws Exception {
        JSONArray words = args.getJSONArray("args");
        SubCommand command = find(words.getString(0));
        String[] arguments = words.subList(1, words.size()).toArray(new String[0]);
        Options options = command.buildCommandlineOptions(ServerUtil.buildCommandlineOptions(new Options()));
        CommandLine line = new DefaultParser().parse(options, arguments);
        System.setProperty("rocketmq.namesrv.addr", args.getString("namesrv"));

        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        ByteArrayOutputStream complained = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(complained, true, StandardCharsets.UTF_8));
        try {
            command.execute(line, options, null);
        } finally {
            System.setOut(out);
            System.setErr(err);
            System.clearProperty("rocketmq.namesrv.addr");
        }
        Map<String, Object> answer = new HashMap<>();
        answer.put("out", printed.toString(StandardCharsets.UTF_8));
        answer.put("err", complained.toString(StandardCharsets.UTF_8));
        return answer;
    }

    /** A new instance: some commands keep the client of their first execution, closed as it is. */
    private static SubCommand find(String name) {
        SUB_COMMANDS.clear();
        initCommand();
        for (SubCommand command : SUB_COMMANDS) {
            if (command.commandName().equalsIgnoreCase(name)) {
                return command;
            }
        }
        throw new IllegalArgumentException("mqadmin has no command " + name);
    }
}
