package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A Builder compiles servers, each once, and has what they share. The zero value
// is ready to use; Close removes what it made.
type Builder struct {
	programs  harness.Builder
	late      harness.Builder
	lateFlags sync.Once

	once   sync.Once
	dir    string
	dirErr error
}

const programs = "github.com/gracerun/grace/test/bench/server/"

func (b *Builder) build(k *Kind) (string, error) { return b.programs.Build(programs + k.program) }

// buildLate returns the program that dies so long after its start.
func (b *Builder) buildLate(k *Kind) (string, error) {
	b.lateFlags.Do(func() {
		b.late.Flags = []string{"-ldflags", fmt.Sprintf("-X %s.crash=%v", path.Clean(programs), lateAfter)}
	})
	return b.late.Build(programs + k.program)
}

// Close removes the programs and the certificate.
func (b *Builder) Close() error {
	return errors.Join(b.programs.Close(), b.late.Close(), os.RemoveAll(b.dir))
}

// certificate returns the files of a self-signed certificate for 127.0.0.1 and
// its key.
func (b *Builder) certificate() (cert, key string, err error) {
	b.once.Do(func() { b.dir, b.dirErr = makeCertificate() })
	return filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem"), b.dirErr
}

func makeCertificate() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "gracerun-bench-"); err != nil {
		return "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return dir, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return dir, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return dir, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return dir, errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), certPEM, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), keyPEM, 0o600),
		os.WriteFile(filepath.Join(dir, "both.pem"), slices.Concat(certPEM, keyPEM), 0o600),
	)
}
