// The vectors of a record as a database has them: one, or several by name.
#pragma once

#include <string>
#include <vector>

#include "actors/api.h"
#include "index/record_format.h"

namespace jade {

// Those with names or, as one of name "", the one without. Positions below are in these.
std::vector<VectorSpec> vectors_of(const DatabaseSpec& spec);
RecordFormat record_format(const DatabaseSpec& spec);

// Which of them a search or a measurement is for that names `vector_name` ("": it names
// none). invalid_argument lists those there are.
Result<uint32_t> find_vector(const DatabaseSpec& spec, const std::string& vector_name);

// For messages: `database "a"`, or `vector "title" of database "a"`.
std::string title_of(const DatabaseSpec& spec, const VectorSpec& vector);
// For messages: "title", "body"
std::string names_of(const DatabaseSpec& spec);

// What is stored as it is shown: the values of the one vector, or those that there are by
// name. "": nothing. corruption: it is not of this format.
Status show_values(const RecordFormat& format, const std::string& stored,
                   std::vector<float>& values, std::vector<NamedValues>& named);

// Of a stored vector, as show_values() made it, the values of one. not_found: it lacks that.
Result<std::vector<float>> values_of(const DatabaseSpec& spec, const VectorSpec& vector,
                                     const StoredVector& stored);

}  // namespace jade
