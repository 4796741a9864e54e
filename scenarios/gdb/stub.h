/* gdb's remote protocol, served by the program that is debugged, whose only thread this must be. */
#ifndef STUB_H
#define STUB_H

/* From now on SIGTRAP is gdb's, at the other end of the socket.  It is told of the first one when it asks. */
void stub_start(int socket);

#endif
