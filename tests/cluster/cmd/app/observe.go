package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What a server says of a connection: what the tests compare between the ways of capture.
type seen struct {
	local, peer string
	// Who the sidecars say they are, in X-Forwarded-Client-Cert; empty without mutual TLS.
	client, server string
}

func (s seen) String() string {
	name := os.Getenv("NAME")
	if name == "" {
		name, _ = os.Hostname()
	}
	text := fmt.Sprintf("%s at %s, peer %s", name, s.local, s.peer)
	if s.client+s.server != "" {
		text += fmt.Sprintf(", mutual TLS %s to %s", s.client, s.server)
	}
	return text
}

var (
	probesLock sync.Mutex
	probes     = map[string]bool{}
)

// observe listens as each argument says: http:ADDR, tcp:ADDR (answers a line), banner:ADDR (speaks first), grpc:ADDR
// (health), udp:ADDR (sends back what comes), unix:PATH. It ends at SIGTERM, once the requests that are open have ended.
func observe(arguments []string) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: http.HandlerFunc(tell), Protocols: protocols}
	for _, argument := range arguments {
		kind, address, _ := strings.Cut(argument, ":")
		switch kind {
		case "udp":
			go sendBack(address)
			continue
		case "unix":
			os.Remove(address)
		}
		network := "tcp"
		if kind == "unix" {
			network = "unix"
		}
		listener, err := net.Listen(network, address)
		if err != nil {
			fail(err)
		}
		switch kind {
		case "unix":
			os.Chmod(address, 0o666)
			go server.Serve(listener)
		case "http", "grpc":
			go server.Serve(listener)
		case "tcp", "banner":
			go lines(listener, kind == "banner")
		default:
			fail(fmt.Errorf("%s: what kind of server is that", argument))
		}
	}
	fmt.Println("ready")
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	<-ends
	for inFlight() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

var (
	openLock sync.Mutex
	open     int
)

func inFlight() int {
	openLock.Lock()
	defer openLock.Unlock()
	return open
}

func count(by int) {
	openLock.Lock()
	defer openLock.Unlock()
	open += by
}

func tell(w http.ResponseWriter, r *http.Request) {
	count(1)
	defer count(-1)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	said := see(local.String(), r.RemoteAddr)
	for part := range strings.SplitSeq(r.Header.Get("X-Forwarded-Client-Cert"), ";") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "By":
			said.server = strings.TrimPrefix(value, "spiffe://cluster.local/")
		case "URI":
			said.client = strings.TrimPrefix(value, "spiffe://cluster.local/")
		}
	}
	switch {
	case r.URL.Path == "/grpc.health.v1.Health/Check":
		remember("grpc", said)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		// One message of two bytes: status (field 1) is SERVING (1).
		w.Write([]byte{0, 0, 0, 0, 2, 8, 1})
		w.Header().Set("Grpc-Status", "0")
	case strings.HasPrefix(r.URL.Path, "/probe/"):
		remember(strings.TrimPrefix(r.URL.Path, "/probe/"), said)
	case r.URL.Path == "/probes":
		probesLock.Lock()
		defer probesLock.Unlock()
		all := []string{}
		for probe := range probes {
			all = append(all, probe)
		}
		slices.Sort(all)
		fmt.Fprintln(w, strings.Join(all, "; "))
	case r.URL.Path == "/big":
		w.Write(make([]byte, 1<<20))
	case r.URL.Path == "/sum":
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n)
	case strings.HasPrefix(r.URL.Path, "/slow/"):
		wait, _ := time.ParseDuration(strings.TrimPrefix(r.URL.Path, "/slow/"))
		time.Sleep(wait)
		fmt.Fprintln(w, said)
	default:
		fmt.Fprintln(w, said)
	}
}

// Ports of peers are never the same twice.
func see(local, peer string) seen {
	if host, _, err := net.SplitHostPort(peer); err == nil {
		peer = host
	}
	return seen{local: local, peer: peer}
}

func remember(kind string, said seen) {
	probesLock.Lock()
	defer probesLock.Unlock()
	probes[kind+" from "+said.peer] = true
}

func lines(listener net.Listener, first bool) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go func() {
			defer connection.Close()
			connection.SetDeadline(time.Now().Add(time.Minute))
			said := see(connection.LocalAddr().String(), connection.RemoteAddr().String())
			if !first {
				if _, err := bufio.NewReader(connection).ReadString('\n'); err != nil {
					remember("tcp", said)
					return
				}
			}
			fmt.Fprintln(connection, said)
		}()
	}
}

func sendBack(address string) {
	socket, err := net.ListenPacket("udp", address)
	if err != nil {
		fail(err)
	}
	buffer := make([]byte, 2048)
	for {
		_, peer, err := socket.ReadFrom(buffer)
		if err != nil {
			fail(err)
		}
		socket.WriteTo([]byte(see(address, peer.String()).String()), peer)
	}
}
