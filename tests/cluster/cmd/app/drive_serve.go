package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

const (
	httpPort = ":8080"
	tcpPort  = ":9090"
)

// Made once: what an answer costs is to be the way, not the application.
var big = make([]byte, 1<<20)

func benchServe() {
	web, err := net.Listen("tcp", httpPort)
	if err != nil {
		fail(err)
	}
	raw, err := net.Listen("tcp", tcpPort)
	if err != nil {
		fail(err)
	}
	go func() { fail(http.Serve(web, http.HandlerFunc(benchAnswer))) }()
	go func() { fail(echo(raw)) }()
}

func benchAnswer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/big" {
		answer(w, r)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(big)))
	w.Write(big)
}

// Says back what it hears; a line "who" is answered with the peer's address.
func echo(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			buffer := make([]byte, 4096)
			for {
				n, err := connection.Read(buffer)
				if err != nil {
					return
				}
				said := buffer[:n]
				if string(said) == "who\n" {
					said = fmt.Appendln(nil, connection.RemoteAddr())
				}
				if _, err := connection.Write(said); err != nil && err != io.EOF {
					return
				}
			}
		}()
	}
}
