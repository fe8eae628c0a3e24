package main

import (
	"fmt"

	"go.etcd.io/etcd/server/v3/embed"
)

// One member on 127.0.0.1. Nothing has to outlive the machine, so nothing waits for the disk.
func etcd(dir string) error {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	<-server.Server.ReadyNotify()
	fmt.Println("ready")
	return <-server.Err()
}
