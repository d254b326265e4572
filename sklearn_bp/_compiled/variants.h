/* The arithmetic for float and double, under names that end in VARIANT. */

#define JOINED(name, ending) name##ending
#define ENDING(name, ending) JOINED(name, ending)

#define REAL float
#define IS_DOUBLE 0
#define INT int32_t
#define UINT uint32_t
#define N(name) ENDING(name, ENDING(_float, VARIANT))
#define ROUNDING 12582912.0f
#define LOG2_HIGH 0.693359375f
#define LOG2_LOW -2.12194440054690583e-4f
#define LEAST_EXPONENT -87.0f
#define MOST_EXPONENT 88.0f
#define MANTISSA_BITS 23
#define MANTISSA_MASK 0x007FFFFFu
#define ROOT_HALF_BITS 0x3F3504F3u
#define EXPONENT_BIAS (127u - 0x4B400000u)
#define EPSILON 1.1920928955078125e-07f
#define NEXT_TO_NOTHING 2.5e-23f
#define SMALLEST_FACTOR 1e-12f
#include "functions.h"
#include "bins.h"
#include "layers.h"
#include "losses.h"
#include "optimizers.h"
#include "features.h"
#include "batch.h"
#include "step.h"
#include "training.h"
#include "held_out.h"
#undef REAL
#undef IS_DOUBLE
#undef INT
#undef UINT
#undef N
#undef ROUNDING
#undef LOG2_HIGH
#undef LOG2_LOW
#undef LEAST_EXPONENT
#undef MOST_EXPONENT
#undef MANTISSA_BITS
#undef MANTISSA_MASK
#undef ROOT_HALF_BITS
#undef EXPONENT_BIAS
#undef EPSILON
#undef NEXT_TO_NOTHING
#undef SMALLEST_FACTOR

#define REAL double
#define IS_DOUBLE 1
#define INT int64_t
#define UINT uint64_t
#define N(name) ENDING(name, ENDING(_double, VARIANT))
#define ROUNDING 6755399441055744.0
#define LOG2_HIGH 6.93147180369123816490e-01
#define LOG2_LOW 1.90821492927058770002e-10
#define LEAST_EXPONENT -708.0
#define MOST_EXPONENT 709.0
#define MANTISSA_BITS 52
#define MANTISSA_MASK 0x000FFFFFFFFFFFFFull
#define ROOT_HALF_BITS 0x3FE6A09E667F3BCDull
#define EXPONENT_BIAS (1023ull - 0x4338000000000000ull)
#define EPSILON 2.220446049250313e-16
#define NEXT_TO_NOTHING 2.5e-185
#define SMALLEST_FACTOR 1e-100
#include "functions.h"
#include "bins.h"
#include "layers.h"
#include "losses.h"
#include "optimizers.h"
#include "features.h"
#include "batch.h"
#include "step.h"
#include "training.h"
#include "held_out.h"
#undef REAL
#undef IS_DOUBLE
#undef INT
#undef UINT
#undef N
#undef ROUNDING
#undef LOG2_HIGH
#undef LOG2_LOW
#undef LEAST_EXPONENT
#undef MOST_EXPONENT
#undef MANTISSA_BITS
#undef MANTISSA_MASK
#undef ROOT_HALF_BITS
#undef EXPONENT_BIAS
#undef EPSILON
#undef NEXT_TO_NOTHING
#undef SMALLEST_FACTOR
