/* exp, log and tanh as plain loops without branches, which compilers vectorize.

Included once per REAL (float or double), with N(name) as that type's name.  Relative
errors are a few units of the last place.  NaN stays NaN.
*/

/* 2^n and exp(r) - 1 of x = n log 2 + r, abs(r) <= log(2) / 2.

Adding 1.5 * 2^23 (2^52) leaves n in the last bits; exp(r) - 1 is its Taylor series up
to where the next term is below the last place.
*/
static ALWAYS_INLINE REAL N(reduced)(REAL x, REAL *power) {
    REAL shifted = x * (REAL)1.4426950408889634 + ROUNDING;
    REAL n = shifted - ROUNDING;
    REAL r = (x - n * LOG2_HIGH) - n * LOG2_LOW;
    UINT bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + EXPONENT_BIAS) << MANTISSA_BITS;
    memcpy(power, &bits, sizeof bits);
#if IS_DOUBLE
    REAL p = (REAL)(1.0 / 6227020800.0);
    p = p * r + (REAL)(1.0 / 479001600.0);
    p = p * r + (REAL)(1.0 / 39916800.0);
    p = p * r + (REAL)(1.0 / 3628800.0);
    p = p * r + (REAL)(1.0 / 362880.0);
    p = p * r + (REAL)(1.0 / 40320.0);
    p = p * r + (REAL)(1.0 / 5040.0);
#else
    REAL p = (REAL)(1.0 / 5040.0);
#endif
    p = p * r + (REAL)(1.0 / 720.0);
    p = p * r + (REAL)(1.0 / 120.0);
    p = p * r + (REAL)(1.0 / 24.0);
    p = p * r + (REAL)(1.0 / 6.0);
    p = p * r + (REAL)0.5;
    return p * r * r + r;
}

/* exp(x), between the smallest normal number and the largest. */
static ALWAYS_INLINE REAL N(exp)(REAL x) {
    REAL power, p;
    x = LEAST_EXPONENT > x ? LEAST_EXPONENT : x;
    x = MOST_EXPONENT < x ? MOST_EXPONENT : x;
    p = N(reduced)(x, &power);
    return p * power + power;
}

/* tanh(x) = (exp(2 x) - 1) / (exp(2 x) + 1), exact to the last places at 0 too. */
static ALWAYS_INLINE REAL N(tanh)(REAL x) {
    REAL power, p;
    x = 2 * x;
    x = (REAL)-50 > x ? (REAL)-50 : x;
    x = (REAL)50 < x ? (REAL)50 : x;
    p = N(reduced)(x, &power);
    p = p * power + (power - 1);
    return p / (p + 2);
}

/* log(x) of a normal number x = 2^n m, with s = (m - 1) / (m + 1):
   n log 2 + 2 (s + s^3 / 3 + s^5 / 5 + ...), where abs(s) < 0.172. */
static ALWAYS_INLINE REAL N(log)(REAL x) {
    UINT bits;
    INT n;
    REAL s, q, p, f;
    memcpy(&bits, &x, sizeof bits);
    bits -= ROOT_HALF_BITS;
    n = (INT)bits >> MANTISSA_BITS;
    bits = (bits & MANTISSA_MASK) + ROOT_HALF_BITS;
    memcpy(&x, &bits, sizeof bits);
    f = (REAL)n;
    s = (x - 1) / (x + 1);
    q = s * s;
#if IS_DOUBLE
    p = (REAL)(2.0 / 21.0);
    p = p * q + (REAL)(2.0 / 19.0);
    p = p * q + (REAL)(2.0 / 17.0);
    p = p * q + (REAL)(2.0 / 15.0);
    p = p * q + (REAL)(2.0 / 13.0);
    p = p * q + (REAL)(2.0 / 11.0);
    p = p * q + (REAL)(2.0 / 9.0);
#else
    p = (REAL)(2.0 / 9.0);
#endif
    p = p * q + (REAL)(2.0 / 7.0);
    p = p * q + (REAL)(2.0 / 5.0);
    p = p * q + (REAL)(2.0 / 3.0);
    return (p * q * s + f * LOG2_LOW) + 2 * s + f * LOG2_HIGH;
}
