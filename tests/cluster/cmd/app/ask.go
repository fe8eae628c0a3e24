package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const patience = 8 * time.Second

// ask asks each URL, one after the other, and prints a line for each: the answer, or what went wrong.
//
//	http://HOST[:PORT]/PATH, post://... (an empty POST), upload://... (1 MiB), grpc://HOST:PORT (health)
//	tcp://HOST:PORT (sends a line, prints the answer), banner://HOST:PORT (waits for the server), open://HOST:PORT (connects)
//	a 6 behind one of these, as in http6://HOST: over IPv6 alone, where the name has addresses of both families
//	udp://HOST:PORT, name://NAME (the pod's resolver), dns://SERVER[:PORT]/NAME, dnstcp://...
func ask(targets []string) {
	failed := false
	for _, target := range targets {
		answer, err := one(target)
		if err != nil {
			answer, failed = describe(err), true
		}
		fmt.Println(answer)
	}
	if failed {
		os.Exit(1)
	}
}

func one(target string) (string, error) {
	where, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	family := ""
	if scheme, six := strings.CutSuffix(where.Scheme, "6"); six {
		where.Scheme, family = scheme, "6"
	}
	switch where.Scheme {
	case "http", "post", "upload":
		return hyper(where, family)
	case "grpc":
		return health(where.Host, family)
	case "tcp", "banner", "open", "udp":
		return stream(where.Scheme, where.Host, family)
	case "name":
		return resolve(net.DefaultResolver, where.Host)
	case "dns", "dnstcp":
		return resolve(resolver(where), strings.Trim(where.Path, "/"))
	}
	return "", fmt.Errorf("%s: what kind of question is that", target)
}

// Dials TCP over one family, or over any where it is "".
func dial(family string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp"+family, address)
	}
}

func hyper(where *url.URL, family string) (string, error) {
	method, body := http.MethodGet, io.Reader(nil)
	switch where.Scheme {
	case "post":
		method = http.MethodPost
	case "upload":
		method, body = http.MethodPost, bytes.NewReader(make([]byte, 1<<20))
	}
	there := *where
	there.Scheme = "http"
	host := ""
	if where.User != nil {
		host, there.User = where.User.Username(), nil
	}
	request, err := http.NewRequest(method, there.String(), body)
	if err != nil {
		return "", err
	}
	request.Host = host
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dial(family)}
	client := http.Client{Timeout: patience + time.Minute, Transport: transport}
	return answerOf(client.Do(request))
}

// The answer, and whether a proxy gave it: Envoy names itself, the application does not.
func answerOf(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	if len(body) > 4096 {
		text = fmt.Sprintf("%d bytes", len(body))
	}
	via := response.Header.Get("Server")
	if via == "" {
		via = "no proxy"
	}
	return strings.TrimSpace(fmt.Sprintf("%d (%s) %s", response.StatusCode, via, text)), nil
}

func health(host, family string) (string, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := http.Client{Timeout: patience, Transport: &http.Transport{Protocols: protocols, DialContext: dial(family)}}
	// An empty request: a message of no bytes.
	body := bytes.NewReader(make([]byte, 5))
	request, err := http.NewRequest(http.MethodPost, "http://"+host+"/grpc.health.v1.Health/Check", body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	message, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	status := response.Trailer.Get("Grpc-Status") + response.Header.Get("Grpc-Status")
	return fmt.Sprintf("%d grpc-status %s message % x", response.StatusCode, status, message), nil
}

func stream(scheme, host, family string) (string, error) {
	network := "tcp" + family
	if scheme == "udp" {
		network = "udp" + family
	}
	connection, err := net.DialTimeout(network, host, patience)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if scheme == "open" {
		return "connected", nil
	}
	if scheme != "banner" {
		if _, err := io.WriteString(connection, "question\n"); err != nil {
			return "", err
		}
	}
	buffer := make([]byte, 4096)
	n, err := connection.Read(buffer)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(buffer[:n])), nil
}

// A resolver that asks one server, and no other way than this one.
func resolver(where *url.URL) *net.Resolver {
	network := map[string]string{"dns": "udp", "dnstcp": "tcp"}[where.Scheme]
	server := where.Host
	if where.Port() == "" {
		server = net.JoinHostPort(where.Hostname(), "53")
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}
	return &net.Resolver{PreferGo: true, Dial: dial}
}

func resolve(resolver *net.Resolver, name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addresses, err := resolver.LookupHost(ctx, name)
	slices.Sort(addresses)
	return strings.Join(addresses, " "), err
}

// The same words for the same failure: no ports, no addresses.
func describe(err error) string {
	var name *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "no such name"
	case errors.As(err, &name) && !name.IsTimeout && !errors.Is(err, syscall.ECONNREFUSED):
		return "name not resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	// Which of them depends on whether the other end had read what was sent.
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer"
	}
	return "error: " + err.Error()
}
