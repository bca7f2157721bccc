package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/api/services/images/v1"
)

// largestBlob bounds what is read of a manifest or a configuration.
const largestBlob = 4 << 20

// imageReader finds where an image is unpacked.
type imageReader struct {
	images  images.ImagesClient
	content content.ContentClient
}

// document has the fields of an index, a manifest and a configuration that
// matter here (image-spec, image-index.md, manifest.md, config.md).
type document struct {
	Manifests []struct {
		Digest   string
		Platform *struct{ Architecture, OS string }
	}
	Config struct {
		Digest string
		Env    []string
	}
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

// unpacked is the name of the snapshot that holds an image's layers, and the
// environment that the image asks for.
func (r imageReader) unpacked(ctx context.Context, name string) (snapshot string, env []string, err error) {
	image, err := r.images.Get(ctx, &images.GetImageRequest{Name: name})
	if err != nil {
		return "", nil, fmt.Errorf("look up image %s: %w", name, kindOf(err))
	}
	manifest, err := r.read(ctx, image.Image.Target.Digest)
	if err != nil {
		return "", nil, err
	}
	if len(manifest.Manifests) > 0 {
		digest := ""
		for _, m := range manifest.Manifests {
			if digest == "" && (m.Platform == nil || m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH) {
				digest = m.Digest
			}
		}
		if digest == "" {
			return "", nil, fmt.Errorf("image %s has no manifest for linux/%s", name, runtime.GOARCH)
		}
		if manifest, err = r.read(ctx, digest); err != nil {
			return "", nil, err
		}
	}
	config, err := r.read(ctx, manifest.Config.Digest)
	if err != nil {
		return "", nil, err
	}
	if len(config.RootFS.DiffIDs) == 0 {
		return "", nil, fmt.Errorf("image %s has no layers", name)
	}
	return chainID(config.RootFS.DiffIDs), config.Config.Env, nil
}

func (r imageReader) read(ctx context.Context, digest string) (d document, err error) {
	stream, err := r.content.Read(ctx, &content.ReadContentRequest{Digest: digest})
	var data []byte
	for err == nil {
		var part *content.ReadContentResponse
		if part, err = stream.Recv(); err == nil {
			if data = append(data, part.Data...); len(data) > largestBlob {
				return d, fmt.Errorf("blob %s is too large for a manifest", digest)
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("read blob %s: %w", digest, kindOf(err))
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("read blob %s: %w", digest, err)
	}
	return d, nil
}

// chainID names a stack of layers (image-spec, config.md, "Layer ChainID").
func chainID(diffIDs []string) string {
	chain := diffIDs[0]
	for _, diff := range diffIDs[1:] {
		chain = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(chain+" "+diff)))
	}
	return chain
}
