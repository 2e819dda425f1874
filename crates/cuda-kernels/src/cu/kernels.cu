// Every kernel of the house in one module.
#include "attention.cu"
#include "columns.cu"
#include "group_norm.cu"
#include "pointwise.cu"
#include "row_norm.cu"
