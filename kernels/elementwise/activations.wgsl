// Functions that several kernels apply, to one number or to four.
alias REAL = f32;
alias BITS = u32;

// The built-in tanh may overflow to NaN, and is inaccurate near 0.
fn tanh_(x: REAL) -> REAL {
  let m = abs(x);
  let q = x * x;
  let near = x * (1.0 + q * (-0.33333333 + q * (0.13333333 + q * (-0.053968254 + q * 0.021869489))));
  let t = 1.0 - 2.0 / (exp(2.0 * m) + 1.0);
  let far = select(t, -t, x < REAL());
  // On some drivers, exp and division lose a NaN.
  let known = (bitcast<BITS>(x) & BITS(0x7fffffffu)) <= BITS(0x7f800000u);
  return select(x, select(far, near, m < REAL(0.25)), known);
}

fn gelu_tanh(x: REAL) -> REAL {
  return 0.5 * x * (1.0 + tanh_(0.7978845608 * (x + 0.044715 * x * x * x)));
}

fn gelu_tanh_slope(x: REAL) -> REAL {
  // For large |x| the slope is 0 or 1, and the cubes below would overflow.
  let c = clamp(x, REAL(-20.0), REAL(20.0));
  let t = tanh_(0.7978845608 * (c + 0.044715 * c * c * c));
  return 0.5 * (1.0 + t) + 0.5 * c * (1.0 - t * t) * 0.7978845608 * (1.0 + 0.134145 * c * c);
}

// Abramowitz and Stegun 7.1.26; absolute error 1.5e-7
fn erf(x: REAL) -> REAL {
  let m = abs(x);
  let t = 1.0 / (1.0 + 0.3275911 * m);
  let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let e = 1.0 - p * exp(-m * m);
  return select(e, -e, x < REAL());
}

fn gelu_erf(x: REAL) -> REAL {
  return 0.5 * x * (1.0 + erf(x * 0.7071067812));
}

fn gelu_erf_slope(x: REAL) -> REAL {
  return 0.5 * (1.0 + erf(x * 0.7071067812)) + x * 0.3989422804 * exp(-0.5 * x * x);
}
