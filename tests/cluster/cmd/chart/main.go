// Prints the manifests of Istio's own charts, as `helm template` would: istioctl is a hundred megabytes for the same text.
//
//	chart [-namespace istio-system] [-kube v1.37.2] base|istio-control/istio-discovery < values.yaml
package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"istio.io/istio/manifests"
	"sigs.k8s.io/yaml"
)

func main() {
	namespace := flag.String("namespace", "istio-system", "namespace of the release")
	kube := flag.String("kube", "v1.37.2", "version of Kubernetes the chart is told of")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: chart [-namespace NAME] [-kube VERSION] CHART < values.yaml")
		os.Exit(64)
	}
	if err := print(flag.Arg(0), *namespace, *kube); err != nil {
		fmt.Fprintf(os.Stderr, "chart %s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}
}

func print(name, namespace, kube string) error {
	loaded, err := load("charts/" + name)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return err
	}
	version, err := common.ParseKubeVersion(kube)
	if err != nil {
		return err
	}
	capabilities := *common.DefaultCapabilities
	capabilities.KubeVersion = *version
	release := common.ReleaseOptions{Name: "istio", Namespace: namespace, IsInstall: true}
	input, err := util.ToRenderValues(loaded, values, release, &capabilities)
	if err != nil {
		return err
	}
	files, err := engine.Render(loaded, input)
	if err != nil {
		return err
	}
	for _, crd := range loaded.CRDObjects() {
		fmt.Printf("---\n%s\n", crd.File.Data)
	}
	names := make([]string, 0, len(files))
	for name, text := range files {
		if !strings.HasSuffix(name, ".txt") && strings.TrimSpace(text) != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("---\n# %s\n%s\n", name, files[name])
	}
	return nil
}

// The loader of Helm wants files, and the module has its charts embedded.
func load(root string) (*chart.Chart, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(manifests.FS, root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := manifests.FS.ReadFile(path)
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(path, root+"/"), Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	return loader.LoadFiles(files)
}
