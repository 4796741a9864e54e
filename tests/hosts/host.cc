// An SGX host in C++: entered from a constructor before main(), faults as exceptions, threads, destructors after main().
extern "C" {
#include "enclave.h"
}

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

struct EnclaveFault : std::runtime_error {
	unsigned vector;
	uint64_t address;

	explicit EnclaveFault(const sgx_enclave_run &run)
		: std::runtime_error("enclave fault"), vector(run.exception_vector), address(run.exception_addr) {}
};

class Enclave {
	enclave loaded;

public:
	Enclave() { enclave_load(&loaded, nullptr); }
	~Enclave() { enclave_unload(&loaded); }
	Enclave(const Enclave &) = delete;

	uint64_t call(int tcs, request_op op, uint64_t a = 0, uint64_t b = 0)
	{
		request request{};
		sgx_enclave_run run;

		request.op = op;
		request.a = a;
		request.b = b;
		if (vdso_enter(enclave_tcs(&loaded, tcs), &request, EENTER, &run) || run.function != EEXIT)
			throw EnclaveFault(run);
		return request.result;
	}
};

struct BeforeMain {
	std::unique_ptr<Enclave> enclave{new Enclave};
	uint64_t sum = enclave->call(0, OP_ADD, 40, 2);

	~BeforeMain() { _exit(enclave->call(1, OP_ADD, 1, 1) == 2 ? done() : 1); }
};

static BeforeMain before_main;

static void exceptions()
{
	struct Guard {
		bool &destroyed;
		~Guard() { destroyed = true; }
	};

	for (uint64_t address = PAGE; address < 4 * PAGE; address += PAGE) {
		bool destroyed = false, caught = false;
		Enclave enclave;

		try {
			Guard guard{destroyed};
			enclave.call(0, OP_READ, address);
		} catch (const EnclaveFault &fault) {
			caught = fault.vector == 14 && fault.address == address;
		}
		ok(caught && destroyed, "a #PF thrown as an exception unwinds the stack");
	}
}

static void threads()
{
	std::atomic<int> right{0}, thrown{0}, caught{0};
	std::vector<std::thread> workers;
	Enclave enclave;

	for (int tcs = 0; tcs < TEST_TCS_COUNT; tcs++)
		workers.emplace_back([&, tcs] {
			for (int i = 0; i < 100; i++) {
				right += enclave.call(tcs, OP_ADD, i, tcs) == uint64_t(i + tcs);
				try {
					throw i;
				} catch (int thrown_here) {
					thrown += thrown_here == i;
				}
				if (i % 40 == 39)
					try {
						enclave.call(tcs, OP_UD2);
					} catch (const EnclaveFault &fault) {
						caught += fault.vector == 6;
					}
			}
		});
	for (auto &worker : workers)
		worker.join();
	ok_eq(right, 400, "calls of four threads");
	ok_eq(thrown, 400, "their own exceptions");
	ok_eq(caught, 8, "their enclave's faults");
}

int main()
{
	ok_eq(before_main.sum, 42, "a call before main()");
	exceptions();
	threads();
	try {
		Enclave enclave;

		std::async(std::launch::async, [&] { return enclave.call(3, OP_GP); }).get();
		ok(false, "a #GP across threads");
	} catch (const EnclaveFault &fault) {
		ok_eq(fault.vector, 13, "a #GP across threads");
	}
}
