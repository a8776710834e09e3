// Package queue is the home of three services that work off a queue, each of
// which ends the jobs in hand when it is replaced, and hands back those that
// would not end in time: asynq (Redis), river (PostgreSQL) and channel (a Go
// channel fed over HTTP). Its tests upgrade and kill them while they work.
package queue
