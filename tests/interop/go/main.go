// Runs the official Go client for the interop tests: one command per process, one JSON object per line on stdout.
//
//	interop produce -namesrv A -topic T -group G -mode sync|async|oneway|batch -count N [-tag X] [-bytes N]
//	interop push    -namesrv A -topic T -group G -count N [-expression E] [-orderly] [-broadcast] [-fail N]
//	interop pull    -namesrv A -topic T -group G -count N [-expression E]
//
// Message i has the body "go-<mode>-<i>" (filled with dots to -bytes), the key "key-<i>" and the property "i".
// A consumer ends by itself when it has count messages or after -timeout; the exit code says only whether the
// program could do its work, what it got is for the test to judge.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

type options struct {
	namesrv    string
	topic      string
	group      string
	mode       string
	tag        string
	expression string
	count      int
	bytes      int
	fail       int
	orderly    bool
	broadcast  bool
	timeout    time.Duration
}

var printing sync.Mutex

func printLine(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

func main() {
	rlog.SetLogLevel("warn") // logrus writes to stderr
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.namesrv, "namesrv", "", "name server, host:port")
	flags.StringVar(&o.topic, "topic", "", "topic")
	flags.StringVar(&o.group, "group", "", "producer or consumer group")
	flags.StringVar(&o.mode, "mode", "sync", "sync, async, oneway or batch")
	flags.StringVar(&o.tag, "tag", "", "tag of every message")
	flags.StringVar(&o.expression, "expression", "*", "tag expression to subscribe to")
	flags.IntVar(&o.count, "count", 1, "messages to send or to wait for")
	flags.IntVar(&o.bytes, "bytes", 0, "least size of a body")
	flags.IntVar(&o.fail, "fail", 0, "a message fails while its reconsume times are below this")
	flags.BoolVar(&o.orderly, "orderly", false, "consume in order")
	flags.BoolVar(&o.broadcast, "broadcast", false, "consume as broadcast")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for messages")
	_ = flags.Parse(os.Args[2:])

	run := map[string]func(options) error{"produce": produce, "push": push, "pull": pull}[os.Args[1]]
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func (o options) messages() []*primitive.Message {
	messages := make([]*primitive.Message, o.count)
	for i := range messages {
		body := fmt.Sprintf("go-%s-%d", o.mode, i)
		if len(body) < o.bytes {
			body += strings.Repeat(".", o.bytes-len(body))
		}
		messages[i] = primitive.NewMessage(o.topic, []byte(body)).WithKeys([]string{fmt.Sprintf("key-%d", i)})
		messages[i].WithProperty("i", fmt.Sprint(i))
		if o.tag != "" {
			messages[i].WithTag(o.tag)
		}
	}
	return messages
}

func produce(o options) error {
	p, err := rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{o.namesrv}),
		producer.WithGroupName(o.group),
		producer.WithRetry(2),
		producer.WithSendMsgTimeout(10*time.Second),
	)
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	defer p.Shutdown()
	ctx := context.Background()
	switch o.mode {
	case "sync":
		for _, message := range o.messages() {
			result, err := p.SendSync(ctx, message)
			if err != nil {
				return err
			}
			printResult(result)
		}
	case "async":
		var waiting sync.WaitGroup
		var failure error
		for _, message := range o.messages() {
			waiting.Add(1)
			err := p.SendAsync(ctx, func(_ context.Context, result *primitive.SendResult, err error) {
				defer waiting.Done()
				if err != nil {
					failure = err
					return
				}
				printResult(result)
			}, message)
			if err != nil {
				return err
			}
		}
		waiting.Wait()
		return failure
	case "oneway":
		for _, message := range o.messages() {
			if err := p.SendOneWay(ctx, message); err != nil {
				return err
			}
		}
	case "batch":
		result, err := p.SendSync(ctx, o.messages()...)
		if err != nil {
			return err
		}
		printResult(result)
	default:
		return fmt.Errorf("no mode %q", o.mode)
	}
	return nil
}

func printResult(result *primitive.SendResult) {
	printLine(map[string]any{
		"status":      int(result.Status),
		"msgId":       result.MsgID,
		"offsetMsgId": result.OffsetMsgID,
		"broker":      result.MessageQueue.BrokerName,
		"queueId":     result.MessageQueue.QueueId,
		"queueOffset": result.QueueOffset,
	})
}

func printMessage(message *primitive.MessageExt) {
	printLine(map[string]any{
		"topic":          message.Topic,
		"queueId":        message.Queue.QueueId,
		"queueOffset":    message.QueueOffset,
		"msgId":          message.MsgId,
		"offsetMsgId":    message.OffsetMsgId,
		"body":           string(message.Body),
		"tags":           message.GetTags(),
		"keys":           message.GetKeys(),
		"properties":     message.GetProperties(),
		"sysFlag":        message.SysFlag,
		"reconsumeTimes": message.ReconsumeTimes,
		"bornTimestamp":  message.BornTimestamp,
		"storeTimestamp": message.StoreTimestamp,
	})
}

func push(o options) error {
	settings := []consumer.Option{
		consumer.WithNameServer(primitive.NamesrvAddr{o.namesrv}),
		consumer.WithGroupName(o.group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerOrder(o.orderly),
	}
	if o.broadcast {
		settings = append(settings, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	c, err := rocketmq.NewPushConsumer(settings...)
	if err != nil {
		return err
	}
	received := make(chan struct{}, 10*o.count)
	listener := func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		answer := consumer.ConsumeSuccess
		for _, message := range messages {
			printMessage(message)
			if int(message.ReconsumeTimes) < o.fail {
				answer = consumer.ConsumeRetryLater
			}
			received <- struct{}{}
		}
		if answer == consumer.ConsumeRetryLater {
			if o.orderly {
				answer = consumer.SuspendCurrentQueueAMoment
			} else if retry, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				retry.DelayLevelWhenNextConsume = 1
			}
		}
		return answer, nil
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: o.expression}
	if err := c.Subscribe(o.topic, selector, listener); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	deadline := time.After(o.timeout)
	for left := o.count; left > 0; left-- {
		select {
		case <-received:
		case <-deadline:
			left = 0
		}
	}
	waitUntilCounted(c)
	return c.Shutdown()
}

// waitUntilCounted waits until the client counts as consumed what its listener was given, so that Shutdown tells the
// broker; messages after the last that the expression selects would never be counted, hence the limit.
func waitUntilCounted(c rocketmq.PushConsumer) {
	for limit := time.Now().Add(3 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		var left int64
		for _, difference := range c.GetOffsetDiffMap() {
			left += difference
		}
		if left == 0 {
			return
		}
	}
}

func pull(o options) error {
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer(primitive.NamesrvAddr{o.namesrv}),
		consumer.WithGroupName(o.group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return err
	}
	if err := c.Subscribe(o.topic, consumer.MessageSelector{Type: consumer.TAG, Expression: o.expression}); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	ctx := context.Background()
	deadline := time.Now().Add(o.timeout)
	for left := o.count; left > 0 && time.Now().Before(deadline); {
		taken, err := c.Poll(ctx, time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, message := range taken.GetMsgList() {
			printMessage(message)
			left--
		}
		c.ACK(ctx, taken, consumer.ConsumeSuccess)
	}
	return c.Shutdown()
}
