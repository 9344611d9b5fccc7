// Values as a datatype stores them: names, what is refused, rounding, and the way back.
#pragma once

#include <string_view>

#include "storage/datatype.h"
#include "storage/status.h"

namespace jade {

std::string_view to_string(Datatype datatype);
Result<Datatype> parse_datatype(std::string_view name);

// Of the values as they were given, without regard to how they are compared. Sizes: n
// floats, n × element_bytes() bytes, which need not be aligned.
//
// Null where all can be stored, else what is wrong with the first that cannot, whose place
// `at` gets: as "is not a finite number".
const char* refusal(Datatype datatype, const float* values, size_t n, size_t& at);
// Values that can be stored, each rounded to the nearest that there is, of two the even one.
void store_values(Datatype datatype, const float* values, size_t n, char* out);
void load_values(Datatype datatype, const char* stored, size_t n, float* out);

}  // namespace jade
