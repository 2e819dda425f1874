// A libcuda for scripts/cuda.sh: what the program says of drivers that are too old or see no card, and of cards that are too old.
#include <stdio.h>
#include <stdlib.h>

static int told(const char *name) {
  const char *value = getenv(name);
  return value ? atoi(value) : 0;
}

int cuDriverGetVersion(int *version) { return *version = told("FAKE_VERSION"), 0; }
int cuInit(unsigned flags) { return flags ? 1 : told("FAKE_INIT"); }
int cuDeviceGetCount(int *count) { return *count = told("FAKE_COUNT"), 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetName(char *name, int length, int device) { return snprintf(name, length, "Tin %d", device), 0; }
int cuGetErrorName(int error, const char **name) { return *name = error ? "TIN" : "SUCCESS", 0; }
int cuGetErrorString(int error, const char **text) { return *text = error ? "the tin is shut" : "none", 0; }

// 75 and 76 are the two halves of the compute capability (CUdevice_attribute)
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? told("FAKE_MAJOR") : 0;
  return device;
}
