// Command porcupine reads a history of appends to and reads of a replicated log, one JSON object a line, and says
// whether it is linearizable, as the checker github.com/anishathalye/porcupine finds.
//
// The log starts empty and only grows. Its first line is {"log": [value or null, ...]}, what was read of it when all
// was over: null stands for an entry that no client wrote (the one that opens a leader's term). The others are
// operations, with times in nanoseconds:
//
//	{"client":0,"kind":"append","value":"v","index":7,"call":1,"return":2}
//	{"client":0,"kind":"get","index":7,"value":"v","found":true,"call":1,"return":2}
//
// An append whose answer never came has "return" 0: it may take effect at any time after its call.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type operation struct {
	Client int     `json:"client"`
	Kind   string  `json:"kind"`
	Index  int     `json:"index"`
	Value  *string `json:"value"`
	Found  bool    `json:"found"`
	Call   int64   `json:"call"`
	Return int64   `json:"return"`
}

// The state is how long the log is: what stands in it never changes.
func model(log []*string) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return 0 },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			length, op := state.(int), input.(operation)
			if op.Kind == "append" {
				return appendStep(log, length, op)
			}
			return getStep(log, length, op)
		},
		DescribeOperation: func(input, output interface{}) string {
			op := input.(operation)
			return fmt.Sprintf("%s %d (found: %v)", op.Kind, op.Index, op.Found)
		},
	}
}

// appendStep: the value stands where the answer said, and all before it was written before.
func appendStep(log []*string, length int, op operation) (bool, interface{}) {
	if op.Index < length || op.Index >= len(log) || log[op.Index] == nil || *log[op.Index] != *op.Value {
		return false, length
	}
	for between := length; between < op.Index; between++ {
		if log[between] != nil {
			return false, length
		}
	}
	return true, op.Index + 1
}

// getStep: what stands at the index was read, or nothing, if the log was not so long.
func getStep(log []*string, length int, op operation) (bool, interface{}) {
	if !op.Found {
		return op.Index >= length, length
	}
	if op.Index >= len(log) {
		return false, length
	}
	if log[op.Index] == nil {
		// Entries that no client wrote come by themselves, whenever those before them are there.
		for between := length; between < op.Index; between++ {
			if log[between] != nil {
				return false, length
			}
		}
		if op.Index+1 > length {
			length = op.Index + 1
		}
		return op.Value == nil, length
	}
	return op.Index < length && op.Value != nil && *op.Value == *log[op.Index], length
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	var first struct {
		Log []*string `json:"log"`
	}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil {
		fmt.Fprintln(os.Stderr, "the first line is not the log")
		os.Exit(2)
	}
	var history []porcupine.Operation
	for lines.Scan() {
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if op.Return == 0 {
			op.Return = math.MaxInt64
		}
		history = append(history, porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: op.Return})
	}
	result, info := porcupine.CheckOperationsVerbose(model(first.Log), history, time.Minute)
	fmt.Println(result)
	if result != porcupine.Ok {
		if len(os.Args) > 1 {
			if err := porcupine.VisualizePath(model(first.Log), info, os.Args[1]); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		os.Exit(1)
	}
}
