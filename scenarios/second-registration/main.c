#include "pair.h"

static struct sgx_runtime *a, *b;

enum { TOLD, NOT_TOLD, SECOND_REFUSED = 100 };

static int second_starts(void)
{
	struct pair first;
	int error;

	must_start(a);
	first = new_pair("first", a);
	error = b->start();
	if (!pair_fault(&first, 0))
		return NOT_TOLD;
	return error ? SECOND_REFUSED + error : TOLD;
}

static int second_stops(void)
{
	struct pair first;

	must_start(a);
	first = new_pair("first", a);
	must_start(b);
	b->stop();
	return pair_fault(&first, 0) ? TOLD : NOT_TOLD;
}

static int first_stops(void)
{
	struct pair second;

	must_start(a);
	must_start(b);
	second = new_pair("second", b);
	a->stop();
	return pair_fault(&second, 0) ? TOLD : NOT_TOLD;
}

static int second_after_first(void)
{
	struct pair second;

	must_start(a);
	if (a->stop())
		return NOT_TOLD;
	must_start(b);
	second = new_pair("second", b);
	return pair_fault(&second, 0) ? TOLD : NOT_TOLD;
}

static bool told(const char *ended, const char *what)
{
	bool right = !strcmp(ended, "exited with 0");

	return ok(right, "%s%s%s", what, right ? "" : ": ", right ? "" : ended);
}

int main(void)
{
	const char *ended;
	int error;

	a = open_runtime("a");
	b = open_runtime("b");
	ended = in_child(second_starts);
	if (sscanf(ended, "exited with %d", &error) == 1 && error > SECOND_REFUSED) {
		ok(true, "the first is told of its exceptions when the second has tried to start");
		ended = in_child(second_after_first);
		if (told(ended, "the second can start when the first has stopped"))
			refused("the second, until the first has stopped: %s", errno_name(error - SECOND_REFUSED));
		refused("the second, for good: %s", errno_name(error - SECOND_REFUSED));
	}
	told(ended, "the first is told of its exceptions when the second has started");
	told(in_child(second_stops), "the first is told when the second has started and stopped");
	told(in_child(first_stops), "the second is told when the first has stopped");
	told(in_child(second_after_first), "the second is told when the first has stopped before");
	finish();
}
