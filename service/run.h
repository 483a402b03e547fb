/* run.h - the composition root: configuration -> store -> lanes -> workers -> acceptor; reload;
 * stop. The only place that names concrete backends and knows every thread:
 *
 *   main      its own loop: signals' requests, control socket, pickup, reload, watchdog, the end
 *   acceptor  accepts on all listeners
 *   worker 0..N-1  inbound sessions
 *   courier   outbound deliveries
 *   lanes     store (one), authentication, files, reading, refusals
 *
 * Owner: command serve. Threads: called from main before any other exists. */
#ifndef POSTERN_RUN_H
#define POSTERN_RUN_H

/* Serves until it is told to stop; returns the exit code (commands/exit_codes.h). config NULL: the
 * system's file. What goes wrong before the service is ready is said on standard error. */
int run_service(const char *config);

#endif
