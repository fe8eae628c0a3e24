package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

func load() {
	connections := flag.Int("c", 8, "connections")
	duration := flag.Duration("d", 2*time.Second, "how long")
	count := flag.Int("n", 0, "requests in all, instead of -d")
	keep := flag.Bool("k", true, "keep connections")
	pause := flag.Duration("p", 0, "pause of each connection between two requests")
	verbose := flag.Bool("v", false, "print one answer")
	flag.Parse()
	url := flag.Arg(0)
	transport := &http.Transport{MaxIdleConnsPerHost: *connections, DisableKeepAlives: !*keep}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	if *verbose {
		print(client, url)
		return
	}
	var (
		lock    sync.Mutex
		group   sync.WaitGroup
		latency []time.Duration
		errors  = map[string]int{}
		left    = *count
		start   = time.Now()
	)
	next := func() bool {
		lock.Lock()
		defer lock.Unlock()
		if *count == 0 {
			return time.Since(start) < *duration
		}
		left--
		return left >= 0
	}
	for range *connections {
		group.Go(func() {
			for next() {
				begun := time.Now()
				fault := request(client, url)
				lock.Lock()
				if fault == "" {
					latency = append(latency, time.Since(begun))
				} else {
					errors[fault]++
				}
				lock.Unlock()
				time.Sleep(*pause)
			}
		})
	}
	group.Wait()
	report(latency, errors, time.Since(start))
}

// What went wrong, if anything.
func request(client *http.Client, url string) string {
	response, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err.Error()
	}
	if response.StatusCode != http.StatusOK {
		return response.Status
	}
	return ""
}

func print(client *http.Client, url string) {
	response, err := client.Get(url)
	if err != nil {
		fail(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		fail(err)
	}
	fmt.Println(response.Status, response.Header.Get("Server"), strings.TrimSpace(string(body)))
}

func report(latency []time.Duration, errors map[string]int, took time.Duration) {
	if len(latency) == 0 {
		fmt.Println("ok 0", errors)
		os.Exit(1)
	}
	sort.Slice(latency, func(i, j int) bool { return latency[i] < latency[j] })
	faults := 0
	for _, n := range errors {
		faults += n
	}
	rate := float64(len(latency)) / took.Seconds()
	fmt.Printf("ok %d errors %d rps %.0f p50 %v p99 %v\n", len(latency), faults, rate,
		latency[len(latency)/2], latency[len(latency)*99/100])
	for fault, n := range errors {
		fmt.Println(n, fault)
	}
}
