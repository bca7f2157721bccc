package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"

	"github.com/troupe-run/troupe/messages"
)

// taskServices are the names under which the task service is served: versions 2
// and 3 have the same messages, field by field, and differ in their names. One
// set of Go types serves both.
var taskServices = []string{"containerd.task.v2.Task", "containerd.task.v3.Task"}

// unary makes a ttrpc method of a typed one.
func unary[Q, R any](method func(context.Context, *Q) (R, error)) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		var request Q
		if err := unmarshal(&request); err != nil {
			return nil, &messages.Error{Kind: messages.InvalidArgument, Op: "read the request", Err: err}
		}
		return method(ctx, &request)
	}
}

func registerTask(server *ttrpc.Server, t taskapi.TTRPCTaskService) {
	desc := &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"State":      unary(t.State),
		"Create":     unary(t.Create),
		"Start":      unary(t.Start),
		"Delete":     unary(t.Delete),
		"Pids":       unary(t.Pids),
		"Pause":      unary(t.Pause),
		"Resume":     unary(t.Resume),
		"Checkpoint": unary(t.Checkpoint),
		"Kill":       unary(t.Kill),
		"Exec":       unary(t.Exec),
		"ResizePty":  unary(t.ResizePty),
		"CloseIO":    unary(t.CloseIO),
		"Update":     unary(t.Update),
		"Wait":       unary(t.Wait),
		"Stats":      unary(t.Stats),
		"Connect":    unary(t.Connect),
		"Shutdown":   unary(t.Shutdown),
	}}
	for _, name := range taskServices {
		server.RegisterService(name, desc)
	}
}

// intercept is around every call: errors get their kind, a panic becomes an
// error of one call and not the end of a pod, and after the last of a burst of
// calls memory goes back to the host.
func intercept(log *slog.Logger, idle *idleWatch) ttrpc.UnaryServerInterceptor {
	return func(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (reply any, err error) {
		idle.busy()
		begun := time.Now()
		defer func() {
			if r := recover(); r != nil {
				log.Error("a call panicked", "method", info.FullMethod, "panic", r, "stack", string(debug.Stack()))
				reply, err = nil, wireError(&messages.Error{
					Kind: messages.Internal,
					Op:   info.FullMethod,
					Err:  fmt.Errorf("panic: %v", r),
					Hint: "the shim's log has the stack",
				})
			}
			if err != nil {
				log.Debug("call failed", "method", info.FullMethod, "took", time.Since(begun), "error", err)
			} else {
				log.Debug("call", "method", info.FullMethod, "took", time.Since(begun))
			}
		}()
		reply, err = method(ctx, unmarshal)
		if err != nil {
			return nil, wireError(err)
		}
		return reply, nil
	}
}
