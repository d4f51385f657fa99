/** The bytes of the file that safetensors_test.ts describes, base64. */
export const HUGGING_FACE_FILE =
  "+AAAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJrIjoidiJ9LCJhIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLC" +
  "JkYXRhX29mZnNldHMiOlswLDE2XX0sInMiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6W10sImRhdGFfb2Zmc2V0cyI6" +
  "WzE2LDIwXX0sImIiOnsiZHR5cGUiOiJJMzIiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOlsyMCwyOF19LCJoIj" +
  "p7ImR0eXBlIjoiRjE2Iiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRzIjpbMjgsMzJdfX0gIAAAgD8AAABAAABAQAAA" +
  "gEAAAAA/AQAAAP7///8APgDA";
