// Arguments: address, port.
package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
)

func main() {
	runtime.GOMAXPROCS(1)
	small, big := []byte(strings.Repeat("ok-", 19)+"ok\n"), bytes.Repeat([]byte("x"), 1000000)
	serve := func(body []byte) {
		path := "/small"
		if len(body) > 100 {
			path = "/big"
		}
		http.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
	}
	serve(small)
	serve(big)
	panic(http.ListenAndServe(net.JoinHostPort(os.Args[1], os.Args[2]), nil))
}
