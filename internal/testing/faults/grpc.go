package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// GRPC is a proxy in front of the Firestore emulator. It supports only calls with one
// request and any number of responses, because skykv makes no others.
type GRPC struct {
	*Injector
	Addr string // HOST:PORT

	server *grpc.Server
	target *grpc.ClientConn
	done   chan struct{}
	close  func()
}

// NewGRPC starts a proxy in front of target, the HOST:PORT of an emulator.
func NewGRPC(target string) (*GRPC, error) {
	conn, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, err
	}
	p := &GRPC{Injector: new(Injector), target: conn, done: make(chan struct{})}
	if err := p.Up(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	p.close = sync.OnceFunc(func() {
		close(p.done)
		p.Down()
		p.wait()
		conn.Close()
	})
	return p, nil
}

// Close ends the proxy, and all calls that hang in it.
func (p *GRPC) Close() { p.close() }

// Down begins an outage: connections break, and new ones are refused until Up is called.
func (p *GRPC) Down() { p.server.Stop() }

// Up ends an outage. The proxy has the same address as before.
func (p *GRPC) Up() error {
	listener, err := listen(p.Addr)
	if err != nil {
		return err
	}
	p.Addr = listener.Addr().String()
	p.server = grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(p.serve))
	go p.server.Serve(listener)
	return nil
}

func (p *GRPC) serve(_ any, client grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(client)
	md, _ := metadata.FromIncomingContext(client.Context())
	var request []byte
	if err := client.RecvMsg(&request); err != nil {
		return err
	}
	req := Request{Method: path.Base(method)}
	if op := md.Get(opHeader); len(op) == 1 {
		req.Op = op[0]
	}
	switch req.Method {
	case "Commit", "BatchWrite", "Write", "CreateDocument", "UpdateDocument", "DeleteDocument":
		req.Write = true
	}
	a := p.begin(req)
	if a.Kind == Late {
		go func() {
			defer p.end()
			p.forward(a, func() error { return p.call(md, method, request).lost() })
		}()
		return connectionReset
	}
	defer p.end()
	switch a.Kind {
	case Drop, Refuse:
		return connectionReset
	case Throttle:
		return status.Error(codes.ResourceExhausted, "Quota exceeded.")
	case Hang:
		select {
		case <-client.Context().Done():
			return status.FromContextError(client.Context().Err()).Err()
		case <-p.done:
			return connectionReset
		}
	}
	var got answer
	p.forward(a, func() error {
		got = p.call(md, method, request)
		return got.lost()
	})
	switch a.Kind {
	case Lose:
		return connectionReset
	case Fail:
		switch a.rand().IntN(3) {
		case 0:
			return status.Error(codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR")
		case 1:
			return status.Error(codes.Unknown, "Unknown error.")
		}
		return status.Error(codes.DeadlineExceeded, "Deadline expired before operation could complete.")
	case Garbage:
		got = answer{messages: [][]byte{[]byte("\xff\xffthis is no message")}}
	case Truncate:
		got = answer{messages: got.messages[:len(got.messages)/2], err: connectionReset}
	}
	for _, message := range got.messages {
		if err := client.SendMsg(&message); err != nil {
			return err
		}
	}
	return got.err
}

var connectionReset = status.Error(codes.Unavailable, "error reading from server: read: connection reset by peer")

// answer is a response of the service: some messages and, if the call failed, its error.
type answer struct {
	messages [][]byte
	err      error
}

// lost returns the error if it means that the service was unreachable. The response then
// does not come from the service.
func (a answer) lost() error {
	if status.Code(a.err) == codes.Unavailable {
		return a.err
	}
	return nil
}

// call forwards a request, even after its client has given up, and reads the whole
// response.
func (p *GRPC) call(md metadata.MD, method string, request []byte) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	md = md.Copy()
	for _, own := range []string{opHeader, ":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
		delete(md, own)
	}
	ctx = metadata.NewOutgoingContext(ctx, md)
	stream, err := p.target.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err == nil {
		err = stream.SendMsg(&request)
	}
	if err == nil || err == io.EOF {
		err = stream.CloseSend()
	}
	var got answer
	for err == nil {
		var message []byte
		if err = stream.RecvMsg(&message); err == nil {
			got.messages = append(got.messages, message)
		}
	}
	if err != io.EOF {
		got.err = err
	}
	return got
}

// rawCodec passes messages unchanged. It has the same name as the codec of the client and
// the service.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("faults: cannot marshal a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*message)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("faults: cannot unmarshal into a %T", v)
	}
	*message = data.Materialize()
	return nil
}

// DialOptions returns options that make a client's calls carry the operation that [WithOp]
// named.
func DialOptions() []grpc.DialOption {
	with := func(ctx context.Context) context.Context {
		if op := opOf(ctx); op != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, opHeader, op)
		}
		return ctx
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(with(ctx), method, req, reply, conn, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(with(ctx), desc, conn, method, opts...)
		}),
	}
}
