package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateAge is how long certificates hold: longer than a session of
// `make up` lasts, as nothing renews them.
const certificateAge = 365 * 24 * time.Hour

// authority is the certificate authority of one control plane. Each run has its
// own, so that a client of one run cannot talk to another by mistake, whatever
// port it meets it on.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// identity is a certificate and its key, both as PEM.
type identity struct {
	certificate []byte
	key         []byte
}

func newAuthority() (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: "control-plane"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	return &authority{certificate: certificate, key: key, pem: encode("CERTIFICATE", der)}, nil
}

// server issues a certificate for a server on 127.0.0.1 that clients also know
// by the given names.
func (authority *authority) server(names ...string) (identity, error) {
	template, err := newTemplate(pkix.Name{CommonName: names[0]})
	if err != nil {
		return identity{}, err
	}
	template.DNSNames = names
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	// etcd's gateway calls its own server with the server's certificate.
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return authority.issue(template)
}

// client issues a certificate for a user of Kubernetes: the common name is the
// user's name, organizations are groups.
func (authority *authority) client(user string, groups ...string) (identity, error) {
	template, err := newTemplate(pkix.Name{CommonName: user, Organization: groups})
	if err != nil {
		return identity{}, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return authority.issue(template)
}

func (authority *authority) issue(template *x509.Certificate) (identity, error) {
	key, err := newKey()
	if err != nil {
		return identity{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, authority.certificate, &key.PublicKey, authority.key)
	if err != nil {
		return identity{}, fmt.Errorf("issue the certificate of %s: %w", template.Subject.CommonName, err)
	}
	encoded, err := encodeKey(key)
	if err != nil {
		return identity{}, err
	}
	return identity{certificate: encode("CERTIFICATE", der), key: encoded}, nil
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("choose a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject,
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(certificateAge),
		BasicConstraintsValid: true,
	}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return key, nil
}

// encodeKey uses the older of the two encodings, as the API server takes no
// other for service-account keys.
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// publicKeyInfrastructure is the folder of keys and certificates that the
// components read, and the files in it.
type publicKeyInfrastructure struct {
	folder    string
	authority *authority
	admin     identity
	manager   identity
}

// writePublicKeyInfrastructure makes a new authority and everything it signs.
func writePublicKeyInfrastructure(folder string) (*publicKeyInfrastructure, error) {
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	pki := &publicKeyInfrastructure{folder: folder, authority: authority}
	if pki.admin, err = authority.client("admin", "system:masters"); err != nil {
		return nil, err
	}
	if pki.manager, err = authority.client("system:kube-controller-manager"); err != nil {
		return nil, err
	}
	etcd, err := authority.server("etcd")
	if err != nil {
		return nil, err
	}
	etcdClient, err := authority.client("kube-apiserver")
	if err != nil {
		return nil, err
	}
	apiServer, err := authority.server("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
	if err != nil {
		return nil, err
	}
	serviceAccountKey, err := newKey()
	if err != nil {
		return nil, err
	}
	serviceAccount, err := encodeKey(serviceAccountKey)
	if err != nil {
		return nil, err
	}

	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		"ca.crt":              authority.pem,
		"etcd.crt":            etcd.certificate,
		"etcd.key":            etcd.key,
		"etcd-client.crt":     etcdClient.certificate,
		"etcd-client.key":     etcdClient.key,
		"kube-apiserver.crt":  apiServer.certificate,
		"kube-apiserver.key":  apiServer.key,
		"service-account.key": serviceAccount,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return pki, nil
}

// file is the path of one of its files.
func (pki *publicKeyInfrastructure) file(name string) string {
	return filepath.Join(pki.folder, name)
}
