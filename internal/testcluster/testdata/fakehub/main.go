// Command fakehub has the command line and the admin port of a hub and nothing behind them: its members are the nodes whose
// gossip port answers, and it is ready while the store does.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	flags := map[string]string{}
	for i := 2; i < len(os.Args); i++ {
		if v, ok := strings.CutPrefix(os.Args[i], "--"); ok && i+1 < len(os.Args) {
			flags[v] = os.Args[i+1]
		}
	}
	name := flags["node-name"]
	if _, err := os.Stat(flags["data"] + "/auth-secret"); err != nil || flags["store"] != "scylla" || flags["cql-keyspace"] == "" || flags["roles"] != "edge,actors" {
		fmt.Fprintln(os.Stderr, "bad flags", os.Args, err)
		os.Exit(1)
	}
	serve := func(addr string, h http.HandlerFunc) {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go http.Serve(l, h)
	}
	client := &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	serve(flags["gossip-listen"], func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
	serve(flags["cluster-listen"], http.NotFound)
	serve(flags["listen"], http.NotFound)
	serve(flags["admin-listen"], func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			if !store(flags["cql-hosts"]) {
				http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
			}
		case "/debug/cluster":
			members := []map[string]any{{"name": name, "state": "alive"}}
			for _, addr := range strings.Split(flags["join"], ",") {
				resp, err := client.Get("http://" + addr)
				if err != nil {
					continue
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				members = append(members, map[string]any{"name": string(b), "state": "alive"})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"members": members})
		}
	})
	<-stop
}

func store(addr string) bool {
	c, err := net.DialTimeout("tcp4", addr, 300*time.Millisecond)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	b := []byte("ping")
	if _, err := c.Write(b); err != nil {
		return false
	}
	_, err = io.ReadFull(c, b)
	return err == nil
}
