// Command protogen compiles protobuf schemas to Go with pooled, reflection-free marshalling (vtprotobuf). It is the whole
// tool chain in one program, with versions pinned in this module, so that nothing has to be installed:
//
//	go run ./protogen -dir ../.. cluster/wire/wire.proto
//
// The generated files go where go_package of the schema says, as seen from the module's root, -dir.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	_ "github.com/planetscale/vtprotobuf/features/marshal"
	_ "github.com/planetscale/vtprotobuf/features/pool"
	_ "github.com/planetscale/vtprotobuf/features/size"
	_ "github.com/planetscale/vtprotobuf/features/unmarshal"
	"github.com/planetscale/vtprotobuf/generator"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "github.com/zumodra/hub"

func main() {
	dir := flag.String("dir", ".", "root of the module "+module)
	flag.Parse()
	for _, name := range flag.Args() {
		if err := generate(*dir, name); err != nil {
			fmt.Fprintf(os.Stderr, "protogen: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func generate(dir, name string) error {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), name)
	if err != nil {
		return err
	}
	var request pluginpb.CodeGeneratorRequest
	request.FileToGenerate = []string{name}
	parameter := "module=" + module
	request.Parameter = &parameter
	request.ProtoFile = []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(files[0])}
	plugin, err := protogen.Options{}.New(&request)
	if err != nil {
		return err
	}
	pooled := generator.NewObjectSet()
	for _, f := range plugin.Files {
		internal_gengo.GenerateFile(plugin, f)
		for _, m := range f.Messages {
			if err := pooled.Set(string(m.GoIdent.GoImportPath) + "." + m.GoIdent.GoName); err != nil {
				return err
			}
		}
	}
	vt, err := generator.NewGenerator(plugin, []string{"marshal", "unmarshal", "size", "pool"}, &generator.Config{Poolable: pooled})
	if err != nil {
		return err
	}
	vt.Generate()
	response := plugin.Response()
	if response.Error != nil {
		return fmt.Errorf("%s", *response.Error)
	}
	for _, f := range response.File {
		path := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(f.GetName(), "/")))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
