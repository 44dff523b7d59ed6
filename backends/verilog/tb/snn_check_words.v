// Compares a stream of words, in order, with a golden list; says the first difference.
module snn_check_words #(
    parameter NAME = "",
    parameter WHAT = "",
    parameter WIDTH = 1,
    parameter COUNT = 1,
    parameter FILE = ""
) (
    input wire clk,
    input wire valid,
    input wire [WIDTH-1:0] data,
    output wire done,
    output reg failed
);
    reg [WIDTH-1:0] golden[0:COUNT-1];
    initial $readmemh(FILE, golden);

    integer position = 0;
    assign done = position == COUNT;
    wire [WIDTH-1:0] expected = golden[done ? COUNT - 1 : position];

    initial failed = 1'b0;
    always @(posedge clk) if (valid) begin
        if (!failed && (done || expected != data)) begin
            failed <= 1'b1;
            $display("DIFFERENCE %0s %0s %0d expected %h found %h", NAME, WHAT, position, expected, data);
        end
        if (!done) position <= position + 1;
    end
endmodule
