/* Writes the SIGSTRUCT of the test enclave to a file, for hosts in languages that bring no RSA. */
#include "enclave.h"

int main(int argc, char **argv)
{
	struct enclave enclave;
	FILE *file;

	enclave_load(&enclave, NULL);
	file = argc == 2 ? fopen(argv[1], "wb") : NULL;
	return !file || fwrite(enclave.sigstruct, sizeof(enclave.sigstruct), 1, file) != 1 || fclose(file);
}
