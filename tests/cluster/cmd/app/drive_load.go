package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const drivePatience = 10 * time.Second

// One connection's worth of client: a function that makes a request, and one that ends it.
type client func() (request func() error, end func())

// Runs `Connections` clients at once until the time is over; what has begun by then ends.
func (o order) load(client client) outcome {
	var (
		group     sync.WaitGroup
		latencies = make([][]float64, o.Connections)
		faults    = make([]map[string]int, o.Connections)
		start     = time.Now()
	)
	for index := range o.Connections {
		group.Go(func() {
			request, end := client()
			defer end()
			mine, wrong := []float64{}, map[string]int{}
			for time.Since(start) < o.duration() {
				begun := time.Now()
				if err := request(); err != nil {
					wrong[err.Error()]++
				} else {
					mine = append(mine, float64(time.Since(begun).Nanoseconds())/1e3)
				}
			}
			latencies[index], faults[index] = mine, wrong
		})
	}
	group.Wait()
	out := outcome{Seconds: time.Since(start).Seconds(), Faults: map[string]int{}}
	for _, wrong := range faults {
		for fault, n := range wrong {
			out.Faults[fault] += n
			out.Errors += n
		}
	}
	all := slices.Concat(latencies...)
	if out.OK = len(all); out.OK > 0 {
		slices.Sort(all)
		out.P50, out.P99 = all[len(all)/2], all[len(all)*99/100]
	}
	return out
}

func (o order) httpClient() (func() error, func()) {
	// Its own, so that one client has one connection.
	transport := &http.Transport{DisableKeepAlives: !o.Keep}
	client := &http.Client{Transport: transport, Timeout: drivePatience}
	request := func() error {
		response, err := client.Get(o.Target)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		switch {
		case err != nil:
			return err
		case response.StatusCode != http.StatusOK:
			return fmt.Errorf("status %s", response.Status)
		case n != o.Bytes:
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	}
	return request, transport.CloseIdleConnections
}

// A message there and the same back.
func (o order) tcpClient() (func() error, func()) {
	var connection net.Conn
	sent, received := make([]byte, o.Bytes), make([]byte, o.Bytes)
	for index := range sent {
		sent[index] = byte(index)
	}
	end := func() {
		if connection != nil {
			connection.Close()
			connection = nil
		}
	}
	exchange := func() (err error) {
		if connection == nil {
			if connection, err = net.DialTimeout("tcp", o.Target, drivePatience); err != nil {
				connection = nil
				return err
			}
		}
		connection.SetDeadline(time.Now().Add(drivePatience))
		if _, err = connection.Write(sent); err != nil {
			return err
		}
		if _, err = io.ReadFull(connection, received); err != nil {
			return err
		}
		if !slices.Equal(sent, received) {
			return fmt.Errorf("another message came back")
		}
		return nil
	}
	request := func() error {
		err := exchange()
		if err != nil || !o.Keep {
			end()
		}
		return err
	}
	return request, end
}

func once(answer string, err error) outcome {
	if err != nil {
		return outcome{Errors: 1, Faults: map[string]int{err.Error(): 1}}
	}
	return outcome{OK: 1, Body: answer}
}

func (o order) get() (string, error) {
	client := &http.Client{Timeout: drivePatience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(o.Target)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	return string(body), err
}

// Whom the raw TCP server sees.
func (o order) who() (string, error) {
	connection, err := net.DialTimeout("tcp", o.Target, drivePatience)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(drivePatience))
	if _, err := io.WriteString(connection, "who\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(connection).ReadString('\n')
}
