package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"time"
)

// What to do for how long: one line of JSON on the socket, and one line in answer.
type order struct {
	// "http", "tcp"; "get" and "who" are one request, whose answer is the body.
	Kind        string  `json:"kind"`
	Target      string  `json:"target"`
	Keep        bool    `json:"keep"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	// Of an answer; another size is an error.
	Bytes int64 `json:"bytes"`
}

type outcome struct {
	OK      int            `json:"ok"`
	Errors  int            `json:"errors"`
	Faults  map[string]int `json:"faults,omitempty"`
	Seconds float64        `json:"seconds"`
	P50     float64        `json:"p50_us"`
	P99     float64        `json:"p99_us"`
	Body    string         `json:"body,omitempty"`
}

// A server on the two ports, and a load client that lives as long as the pod: a process started for each load would be
// part of what the load costs.
func drive(path string) {
	benchServe()
	// Not "there is such a file" of the container's last life.
	os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		fail(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go obey(connection)
	}
}

func obey(connection net.Conn) {
	defer connection.Close()
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		var order order
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			order.Kind = err.Error()
		}
		if json.NewEncoder(connection).Encode(order.carryOut()) != nil {
			return
		}
	}
}

func (o order) carryOut() outcome {
	switch o.Kind {
	case "get":
		return once(o.get())
	case "who":
		return once(o.who())
	case "http":
		return o.load(o.httpClient)
	case "tcp":
		return o.load(o.tcpClient)
	default:
		return outcome{Errors: 1, Faults: map[string]int{"no such order: " + o.Kind: 1}}
	}
}

func (o order) duration() time.Duration {
	return time.Duration(o.Seconds * float64(time.Second))
}
