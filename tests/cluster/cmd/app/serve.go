package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

func serve(addresses []string) {
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			fail(err)
		}
		go func() { fail(http.Serve(listener, http.HandlerFunc(answer))) }()
	}
	select {}
}

func answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/big":
		w.Write(make([]byte, 1<<20))
	case "/who":
		local := r.Context().Value(http.LocalAddrContextKey)
		fmt.Fprintf(w, "peer %s local %s xfcc %s\n", r.RemoteAddr, local, r.Header.Get("X-Forwarded-Client-Cert"))
	default:
		io.WriteString(w, strings.Repeat("pong ", 12))
	}
}
