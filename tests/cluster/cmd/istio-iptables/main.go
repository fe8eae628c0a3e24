// The real istio-iptables, which pilot-agent has as a subcommand: the oracle that sidestep is compared with.
package main

import (
	"os"

	"istio.io/istio/pkg/log"
	"istio.io/istio/tools/istio-iptables/pkg/cmd"
)

func main() {
	if err := cmd.GetCommand(log.DefaultOptions()).Execute(); err != nil {
		log.Error(err)
		os.Exit(1)
	}
}
