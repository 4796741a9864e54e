/* A safe: it gives its content to who knows the PIN, and to nobody any more after three wrong ones. */
#include "attestation.h"
#include "trusted.h"

#include <string.h>

enum { FILL, OPEN, REPORT };
enum { DONE, WRONG_PIN, LOCKED, BAD_ARGUMENT };

static struct note {
	uint64_t pin;
	char text[56];
} content;
static int tries_left;

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	struct note note;

	(void)thread;
	if (function == REPORT)
		return !answer_report_request(argument, NULL);
	if (!is_outside(argument, sizeof(note)))
		return BAD_ARGUMENT;
	memcpy(&note, argument, sizeof(note)); /* before it is looked at: the host can change it */
	if (function == FILL) {
		content = note;
		tries_left = 3;
		return DONE;
	}
	if (!tries_left)
		return LOCKED;
	if (note.pin != content.pin) {
		tries_left--;
		return WRONG_PIN;
	}
	tries_left = 3;
	memcpy(argument, &content, sizeof(content));
	return DONE;
}
