// The lab's one application: a server, a load client, and the process that holds a pod's namespaces.
//
//	app serve [ADDRESS ...]
//	app [-v] [-c 8] [-d 2s] [-n N] [-k=false] [-p 0] URL
//	app resolve NAME
//	app observe LISTENER ...  (observe.go)
//	app ask URL ...           (ask.go)
//	app drive SOCKET
//	app pause
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "serve":
		serve(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "observe":
		observe(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "ask":
		ask(os.Args[2:])
	case len(os.Args) > 2 && os.Args[1] == "resolve":
		addresses, err := net.LookupHost(os.Args[2])
		if err != nil {
			fail(err)
		}
		fmt.Println(strings.Join(addresses, "\n"))
	case len(os.Args) > 2 && os.Args[1] == "drive":
		drive(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == "pause":
		pause()
	default:
		load()
	}
}

func pause() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	<-ends
}

func fail(err error) {
	fmt.Println("error", err)
	os.Exit(1)
}
