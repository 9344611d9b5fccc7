#include "apps/data/vector_reader.h"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>

#include "storage/bytes.h"
#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string u32(uint32_t value) {
  std::string out;
  append_u32(out, value);
  return out;
}

std::string npy(const std::string& descr, const std::string& order, const std::string& shape,
                const std::string& values, char version = 1) {
  std::string header =
      "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
  std::string out = "\x93NUMPY";
  out.push_back(version);
  out.push_back('\0');
  std::string length = u32(static_cast<uint32_t>(header.size()));
  out += version == 1 ? length.substr(0, 2) : length;
  return out + header + values;
}

std::string npy_f4(const std::string& shape, const std::string& values) {
  return npy("'<f4'", "False", shape, values);
}

// Three rows of two dimensions, in every format that holds them.
const std::vector<float> sample{1, 2, 3, 4, 250, 6};
const std::string sample_bytes = "\x01\x02\x03\x04\xfa\x06";
const std::string sample_halves("\x00\x3c\x00\x40\x00\x42\x00\x44\xd0\x5b\x00\x46", 12);

std::string prefixed(const std::string& values, size_t width) {
  std::string out;
  for (size_t at = 0; at < values.size(); at += width) out += u32(2) + values.substr(at, width);
  return out;
}

struct Sample {
  std::string name;
  std::string bytes;
};

std::vector<Sample> samples() {
  std::string f = floats(sample);
  return {{"a.fvecs", prefixed(f, 8)},
          {"a.bvecs", prefixed(sample_bytes, 2)},
          {"a.fbin", u32(3) + u32(2) + f},
          {"a.u8bin", u32(3) + u32(2) + sample_bytes},
          {"f4.npy", npy_f4("(3, 2)", f)},
          {"f4-2.npy", npy("'<f4'", "False", "(3, 2)", f, 2)},
          {"f4-3.npy", npy("'<f4'", "False", "(3,2)", f, 3)},
          {"f2.npy", npy("'<f2'", "False", "(3, 2)", sample_halves)},
          {"u1.npy", npy("'|u1'", "False", "(3, 2)", sample_bytes)}};
}

std::string failure_of(const ScratchDir& dir, const std::string& name, const std::string& bytes) {
  std::string path = dir.write(name, bytes);
  auto opened = open_vectors(path, std::nullopt);
  Status status = opened.status();
  while (opened.ok()) {
    auto piece = (*opened)->read(2, 1 << 20);
    status = piece.status();
    if (!piece.ok() || piece->rows == 0) break;
  }
  if (status.ok()) return "";
  CHECK(status.code() == Code::invalid_argument);
  // The file is always named.
  CHECK(status.message().find(path + ": ") == 0);
  return status.message().substr(std::min(status.message().size(), path.size() + 2));
}

}  // namespace

TEST_CASE("every format gives the same rows, in pieces of any size") {
  ScratchDir dir;
  for (const Sample& file : samples()) {
    CAPTURE(file.name);
    std::string path = dir.write(file.name, file.bytes);
    auto matrix = load_matrix(path, 100);
    REQUIRE_MESSAGE(matrix.ok(), matrix.status().to_string());
    CHECK(matrix->rows == 3);
    CHECK(matrix->dimension == 2);
    CHECK(matrix->values == sample);
    CHECK(matrix->row(2)[1] == 6);
    auto first = load_matrix(path, 2);
    REQUIRE(first.ok());
    CHECK(first->values == std::vector<float>{1, 2, 3, 4});
    for (size_t rows_max : {1, 2, 3, 9}) {
      for (size_t bytes_max : {1, 9, 1000}) {
        auto reader = open_vectors(path, std::nullopt);
        REQUIRE(reader.ok());
        CHECK((*reader)->rows() == 3);
        std::string values;
        for (uint64_t row = 0;;) {
          auto piece = (*reader)->read(rows_max, bytes_max);
          REQUIRE_MESSAGE(piece.ok(), piece.status().to_string());
          if (piece->rows == 0) break;
          CHECK(piece->first_row == row);
          CHECK(piece->rows <= rows_max);
          row += piece->rows;
          values += piece->values;
        }
        CHECK(values.size() == 6 * size_bytes((*reader)->element_type()));
        CHECK((*reader)->bytes_read() == file.bytes.size());
      }
    }
  }
}

TEST_CASE("rows are skipped in every format, but not more than there are") {
  ScratchDir dir;
  for (const Sample& file : samples()) {
    CAPTURE(file.name);
    std::string path = dir.write(file.name, file.bytes);
    for (uint64_t skipped = 0; skipped <= 3; ++skipped) {
      auto reader = open_vectors(path, std::nullopt);
      REQUIRE(reader.ok());
      REQUIRE((*reader)->skip(skipped).ok());
      auto piece = (*reader)->read(10, 1000);
      REQUIRE_MESSAGE(piece.ok(), piece.status().to_string());
      CHECK(piece->first_row == skipped);
      REQUIRE(piece->rows == 3 - skipped);
      if (skipped < 3 && (*reader)->element_type() == ElementType::f32) {
        float value = 0;
        std::memcpy(&value, piece->values.data(), 4);
        CHECK(value == sample[skipped * 2]);
      }
    }
    auto reader = open_vectors(path, std::nullopt);
    REQUIRE(reader.ok());
    CHECK(!(*reader)->skip(4).ok());
  }
}

TEST_CASE("files cut anywhere, or with a byte too many, are refused") {
  ScratchDir dir;
  for (const Sample& file : samples()) {
    CAPTURE(file.name);
    for (size_t size = 0; size <= file.bytes.size() + 1; ++size) {
      if (size == file.bytes.size()) continue;
      CAPTURE(size);
      std::string bytes = file.bytes;
      bytes.resize(size);
      bool vecs = file.name.find("vecs") != std::string::npos;
      // Whole rows of these are a file.
      size_t stride = file.name == "a.fvecs" ? 12 : 6;
      if (vecs && size > 0 && size % stride == 0) continue;
      CHECK(failure_of(dir, "cut-" + file.name, bytes) != "");
    }
    CHECK(failure_of(dir, "cut-" + file.name, "") == "is empty");
  }
}

TEST_CASE("a file of one format under the name of another is refused") {
  ScratchDir dir;
  std::vector<Sample> files = samples();
  files.push_back({"a.ndjson", "{\"values\":[1,2]}\n{\"values\":[3,4]}\n"});
  files.push_back({"a.csv", "1.5,2.5\n3.5,4.5\n250,6\n"});
  files.push_back({"a.gz", "\x1f\x8b\x08\x08 what gzip begins with"});
  for (const Sample& file : files) {
    for (const char* name : {"as.fvecs", "as.bvecs", "as.fbin", "as.u8bin", "as.npy"}) {
      if (format_of_path(file.name) == format_of_path(name)) continue;
      CAPTURE(file.name);
      CAPTURE(name);
      CHECK(failure_of(dir, name, file.bytes) != "");
    }
  }
}

TEST_CASE("lying counts and impossible dimensions are refused with what is wrong") {
  ScratchDir dir;
  std::string f = floats(sample);
  auto fails = [&](const std::string& name, const std::string& bytes, const std::string& why) {
    std::string message = failure_of(dir, name, bytes);
    CHECK_MESSAGE(message.find(why) != std::string::npos, message);
  };
  fails("a.fbin", u32(4) + u32(2) + f,
        "claims 4 rows of dimension 2, which is 40 bytes, but has 32");
  fails("a.fbin", u32(UINT32_MAX) + u32(2) + f, "claims 4294967295 rows");
  fails("a.fbin", u32(3) + u32(0), "claims dimension 0");
  fails("a.fbin", u32(3) + u32(UINT32_MAX) + f, "claims dimension 4294967295");
  fails("a.u8bin", u32(3) + u32(3) + sample_bytes, "claims 3 rows of dimension 3");
  fails("a.fvecs", u32(0) + f, "begins with dimension 0");
  fails("a.fvecs", u32(UINT32_MAX) + f, "begins with dimension 4294967295");
  fails("a.bvecs", u32(2) + "ab" + u32(1) + "cd" + u32(2) + "ef",
        "row 1 has dimension 1, the first has 2");
  std::string differing = prefixed(f, 8);
  differing[24] = 3;
  fails("a.fvecs", differing, "row 2 has dimension 3, the first has 2");
}

TEST_CASE("arrays that are not rows of floats in C order are refused") {
  ScratchDir dir;
  std::string f = floats(sample);
  auto fails = [&](const std::string& bytes, const std::string& why) {
    std::string message = failure_of(dir, "a.npy", bytes);
    CHECK_MESSAGE(message.find(why) != std::string::npos, message);
  };
  fails(npy("'<f4'", "True", "(3, 2)", f), "is in Fortran order; save it in C order");
  fails(npy("'<f8'", "False", "(3, 2)", f + f), "has elements of type '<f8'");
  fails(npy("'>f4'", "False", "(3, 2)", f), "has elements of type '>f4'");
  fails(npy("'<i4'", "False", "(3, 2)", f), "has elements of type '<i4'");
  fails(npy("[('x', '<f4')]", "False", "(3, 2)", f), "has elements of type");
  fails(npy_f4("(3, 2, 1)", f), "has shape (3, 2, 1); two dimensions are needed");
  fails(npy_f4("(6,)", f), "has shape (6,); two dimensions are needed");
  fails(npy_f4("()", ""), "two dimensions are needed");
  fails(npy_f4("(-3, 2)", f), "two dimensions are needed");
  fails(npy_f4("(3, 2", f), "two dimensions are needed");
  fails(npy_f4("(99999999999999999999, 2)", f), "two dimensions are needed");
  fails(npy_f4("(9223372036854775808, 2)", f), "claims an impossible number of rows");
  fails(npy_f4("(4, 2)", f), "claims 4 rows of dimension 2");
  fails(npy_f4("(3, 0)", ""), "claims dimension 0");
  fails(npy("'<f4'", "False", "(3, 2)", f, 9), "has .npy version 9");
  fails("\x93NUMPX" + npy_f4("(3, 2)", f).substr(6), "is not a .npy file");
  fails("PK\x03\x04 a zip archive", "is not a .npy file");
  CHECK(failure_of(dir, "none.npy", npy_f4("(0, 2)", "")) == "");
}

TEST_CASE("NDJSON gives lines with their numbers and skips blank ones") {
  ScratchDir dir;
  std::string path = dir.write("a.ndjson", "{\"a\":1}\n\n  \n{\"b\":2}\r\n{\"c\":3}");
  auto reader = open_vectors(path, std::nullopt);
  REQUIRE(reader.ok());
  CHECK((*reader)->format() == FileFormat::ndjson);
  CHECK((*reader)->dimension() == 0);
  CHECK(!(*reader)->rows());
  auto piece = (*reader)->read(2, 1000);
  REQUIRE(piece.ok());
  CHECK(piece->lines == std::vector<std::string>{"{\"a\":1}", "{\"b\":2}"});
  CHECK(piece->line_numbers == std::vector<uint64_t>{1, 4});
  piece = (*reader)->read(2, 1000);
  REQUIRE(piece.ok());
  CHECK(piece->first_row == 2);
  CHECK(piece->lines == std::vector<std::string>{"{\"c\":3}"});
  CHECK((*reader)->read(2, 1000)->rows == 0);
  auto skipping = open_vectors(path, std::nullopt);
  REQUIRE((*skipping)->skip(2).ok());
  piece = (*skipping)->read(9, 1000);
  REQUIRE(piece.ok());
  CHECK(piece->first_row == 2);
  CHECK(piece->line_numbers == std::vector<uint64_t>{5});
  CHECK(!(*open_vectors(path, std::nullopt).value()).skip(4).ok());
}

TEST_CASE("a line without end is refused and not kept") {
  ScratchDir dir;
  std::string path = dir.write("a.ndjson", "{}\n" + std::string(5 << 20, 'x'));
  auto reader = open_vectors(path, std::nullopt);
  REQUIRE(reader.ok());
  auto piece = (*reader)->read(9, 9 << 20);
  CHECK(piece.status().code() == Code::too_large);
  CHECK(piece.status().message().find("after line 1") == 0);
}

TEST_CASE("the format is told by extension, by option or by a brace") {
  ScratchDir dir;
  CHECK(format_of_path("x/y.jsonl") == FileFormat::ndjson);
  CHECK(format_of_path("x.fbin") == FileFormat::fbin);
  CHECK(!format_of_path("x.txt"));
  CHECK(!format_of_path("fbin"));
  for (auto format : {FileFormat::fvecs, FileFormat::bvecs, FileFormat::fbin, FileFormat::u8bin,
                      FileFormat::npy, FileFormat::ndjson}) {
    CHECK(parse_file_format(to_string(format)).value() == format);
  }
  CHECK(parse_file_format("csv").status().code() == Code::invalid_argument);
  CHECK(open_vectors(dir.write("lines", "{}\n"), std::nullopt).value()->format() ==
        FileFormat::ndjson);
  std::string bytes = u32(3) + u32(2) + sample_bytes;
  CHECK(open_vectors(dir.write("data", bytes), FileFormat::u8bin).ok());
  CHECK(failure_of(dir, "data", bytes).find("does not say its format") == 0);
  CHECK(open_vectors(dir.path("missing.fbin"), std::nullopt).status().code() == Code::not_found);
  CHECK(!open_vectors(dir.path(""), FileFormat::fbin).ok());
  CHECK(load_matrix(dir.write("b.ndjson", "{}\n"), 9).status().code() == Code::invalid_argument);
}

TEST_CASE("neighbours are read from both formats, and bad files refused") {
  ScratchDir dir;
  std::string row1 = u32(7) + u32(8) + u32(9), row2 = u32(1) + u32(2) + u32(3);
  std::string ibin = u32(2) + u32(3) + row1 + row2, ivecs = u32(3) + row1 + u32(3) + row2;
  for (const std::string& path : {dir.write("a.ibin", ibin), dir.write("a.ivecs", ivecs)}) {
    CAPTURE(path);
    auto neighbours = load_neighbours(path);
    REQUIRE_MESSAGE(neighbours.ok(), neighbours.status().to_string());
    CHECK(neighbours->rows == 2);
    CHECK(neighbours->columns == 3);
    CHECK(neighbours->ids == std::vector<int32_t>{7, 8, 9, 1, 2, 3});
    CHECK(neighbours->row(1)[2] == 3);
  }
  for (size_t size = 0; size < ibin.size(); ++size) {
    CHECK(!load_neighbours(dir.write("b.ibin", ibin.substr(0, size))).ok());
  }
  for (size_t size = 0; size < ivecs.size(); ++size) {
    if (size == ivecs.size() / 2) continue;
    CHECK(!load_neighbours(dir.write("b.ivecs", ivecs.substr(0, size))).ok());
  }
  CHECK(!load_neighbours(dir.write("c.ibin", u32(2) + u32(0))).ok());
  CHECK(!load_neighbours(dir.write("c.ivecs", u32(0))).ok());
  CHECK(!load_neighbours(dir.write("d.ibin", u32(UINT32_MAX) + u32(UINT32_MAX) + row1)).ok());
  std::string differing = ivecs;
  differing[16] = 2;
  CHECK(!load_neighbours(dir.write("d.ivecs", differing)).ok());
}

}  // namespace jade
