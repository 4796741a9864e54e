/*
 * The vDSO without SGX functions: for designs in which programs execute ENCLU in their own code.
 */
#include "common.h"
