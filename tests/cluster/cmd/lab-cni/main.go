// A CNI plugin that stands where others' plugins do, chained before and behind the one that captures: it stamps each ADD
// with "at" of its entry in /run/lab-cni.log, and behind the others it acts on two annotations of the pod:
//
//	lab/deny: "9000"              nobody connects to this port of the pod, nor the pod to it elsewhere (a network policy)
//	lab/second-network: "10.88.0.5" the pod has a second interface with this address (what Multus adds)
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	log  = "/run/lab-cni.log"
	kind = "io.kubernetes.cri.pod-annotations"
	// The node's end of the second networks.
	bridge = "lab-second"
	// Where pods of the second networks find the node.
	gateway = "10.88.0.1/24"
)

type config struct {
	Version       string          `json:"cniVersion"`
	Place         string          `json:"at"`
	Acts          bool            `json:"acts"`
	PrevResult    json.RawMessage `json:"prevResult"`
	RuntimeConfig map[string]json.RawMessage
}

type result struct {
	Interfaces []struct{ Name, Sandbox string }
	IPs        []struct{ Address string }
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = run(text)
	}
	if err != nil {
		answer, _ := json.Marshal(map[string]any{"cniVersion": "1.0.0", "code": 11, "msg": err.Error()})
		fmt.Println(string(answer))
		os.Exit(1)
	}
}

func run(text []byte) error {
	command := os.Getenv("CNI_COMMAND")
	if command == "VERSION" {
		fmt.Println(`{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}`)
		return nil
	}
	if command != "ADD" {
		return nil
	}
	var config config
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	if err := stamp(config.Place); err != nil {
		return err
	}
	if config.Acts {
		if err := act(config); err != nil {
			return err
		}
	}
	// What a plugin does not print, the runtime never learns.
	fmt.Println(string(config.PrevResult))
	return nil
}

func stamp(place string) error {
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintf(file, "%s %s %d\n", pod(), place, time.Now().UnixMicro())
	return err
}

func pod() string {
	names := map[string]string{}
	for pair := range strings.SplitSeq(os.Getenv("CNI_ARGS"), ";") {
		name, value, _ := strings.Cut(pair, "=")
		names[name] = value
	}
	return names["K8S_POD_NAMESPACE"] + "/" + names["K8S_POD_NAME"]
}

func act(config config) error {
	var before result
	if err := json.Unmarshal(config.PrevResult, &before); err != nil {
		return fmt.Errorf("the plugin in front passed no result on: %w", err)
	}
	// What a policy is made for, and what Multus reports.
	if len(before.IPs) == 0 || len(before.Interfaces) == 0 {
		return errors.New("the plugin in front passed on neither addresses nor interfaces")
	}
	annotations := map[string]string{}
	if said, ok := config.RuntimeConfig[kind]; ok {
		if err := json.Unmarshal(said, &annotations); err != nil {
			return err
		}
	}
	if port := annotations["lab/deny"]; port != "" {
		if err := deny(port); err != nil {
			return err
		}
	}
	if address := annotations["lab/second-network"]; address != "" {
		return second(address)
	}
	return nil
}

// In the pod's network, so that the rules go with it, but as packets are on the wire: in front of the translation of
// addresses on the way in, behind it on the way out.
func deny(port string) error {
	rules := `table inet lab-policy {
	chain in { type filter hook prerouting priority raw; iifname "eth0" tcp dport %[1]s drop; }
	chain out { type filter hook postrouting priority srcnat + 10; oifname "eth0" tcp dport %[1]s drop; }
}`
	nft := exec.Command("nsenter", "--net="+os.Getenv("CNI_NETNS"), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(fmt.Sprintf(rules, port))
	return said(nft)
}

func second(address string) error {
	netns := os.Getenv("CNI_NETNS")
	host := "second-" + os.Getenv("CNI_CONTAINERID")[:8]
	inside := filepath.Base(netns)
	// There is one of these: whoever comes first makes it.
	if exec.Command("ip", "link", "add", bridge, "type", "bridge").Run() == nil {
		for _, words := range []string{"address add " + gateway + " dev " + bridge, "link set " + bridge + " up"} {
			if err := ip(words); err != nil {
				return err
			}
		}
	}
	for _, words := range []string{
		"link add " + host + " type veth peer name net1 netns " + inside,
		"link set " + host + " master " + bridge + " up",
		"-n " + inside + " address add " + address + "/24 dev net1",
		"-n " + inside + " link set net1 up",
	} {
		if err := ip(words); err != nil {
			return err
		}
	}
	return nil
}

func ip(words string) error {
	return said(exec.Command("ip", strings.Fields(words)...))
}

func said(command *exec.Cmd) error {
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, output)
	}
	return nil
}
